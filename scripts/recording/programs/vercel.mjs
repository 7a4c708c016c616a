// Vercel's AI SDK 5 over OpenAI and Anthropic.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { embed, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new OTLPTraceExporter())] });
provider.register();

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
const anthropic = createAnthropic({ baseURL: process.env.ANTHROPIC_BASE_URL + '/v1' });
const claude = anthropic('claude-sonnet-4-5');
const system = 'You are a terse helpdesk.';
const capital = 'What is the capital of Australia?';
const vaccines = 'How do vaccines work?';
const where = 'Where is my order FH-20417?';
const handbook = 'Parcels that weigh more than thirty kilograms go by freight, on pallets, from Rotterdam. '.repeat(80);
const tools = {
  lookup_order: tool({
    description: 'Look up the status of an order.',
    inputSchema: z.object({ order_id: z.string() }),
    execute: async () => ({ status: 'delivered' }),
  }),
};

function asked(model, prompt, more = {}) {
  return { model, system, prompt, maxRetries: 0, experimental_telemetry: { isEnabled: true }, ...more };
}

async function streamed(model, prompt, more) {
  for await (const _ of streamText(asked(model, prompt, more)).textStream);
}

const metadata = { sessionId: 'session-4711', userId: 'user-0815' };
const cached = { role: 'system', content: handbook, providerOptions: { anthropic: { cacheControl: { type: 'ephemeral' } } } };
const thinking = { providerOptions: { anthropic: { thinking: { type: 'enabled', budgetTokens: 2000 } } } };

const scenarios = {
  responses: () => generateText(asked(openai.responses('gpt-4o-mini'), capital)),
  responses_stream: () => streamed(openai.responses('gpt-4o-mini'), vaccines),
  stream: () => streamed(openai.chat('gpt-4o-mini'), vaccines),
  tool_call: () => generateText(asked(openai.chat('gpt-4o-mini'), where, { tools, stopWhen: stepCountIs(3) })),
  embedding: () => embed({ ...asked(openai.embedding('text-embedding-3-small')), value: capital }),
  session: () =>
    generateText(asked(openai.chat('gpt-4o-mini'), capital, { experimental_telemetry: { isEnabled: true, metadata } })),
  ant_chat: () => generateText(asked(claude, capital)),
  ant_stream: () => streamed(claude, vaccines),
  ant_tool_call: () => generateText(asked(claude, where, { tools, stopWhen: stepCountIs(3) })),
  ant_reasoning: () => generateText(asked(claude, vaccines, thinking)),
  ant_error_429: () => generateText(asked(claude, capital)),
  ant_multi_turn: async () => {
    for (const content of [capital, vaccines])
      await generateText({ ...asked(claude), system: undefined, prompt: undefined, messages: [cached, { role: 'user', content }] });
  },
};

const name = process.argv[2];
try {
  await scenarios[name]();
} catch (error) {
  if (!name.includes('error_')) throw error;
}
await provider.shutdown();
