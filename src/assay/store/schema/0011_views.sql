-- What users may ask by SQL (docs/sql.md): the tables behind these views may change, the views' columns stay.
CREATE OR REPLACE VIEW calls AS
SELECT
    span_id, trace_id, parent_span_id, started_at, project, environment, service,
    attributes['service.version'] AS release, session_id, user_id, kind, name,
    operation, provider, model, request_model, response_id, system, prompt, response, messages_in, messages_out,
    tool_definitions, tool_calls, documents, input_tokens, output_tokens, estimated_input_tokens,
    estimated_output_tokens,
    if(ifNull(input_tokens, estimated_input_tokens) IS NULL AND ifNull(output_tokens, estimated_output_tokens) IS NULL,
        NULL,
        ifNull(ifNull(input_tokens, estimated_input_tokens), 0)
        + ifNull(ifNull(output_tokens, estimated_output_tokens), 0)) AS total_tokens,
    cache_read_tokens, cache_write_tokens, reasoning_tokens, tokens_estimated, input_cost_usd, output_cost_usd,
    cost_usd, latency_ms, time_to_first_token_ms, stream, temperature, top_p, max_tokens, status, error_type,
    error_message, finish_reason, attributes
FROM spans FINAL
WHERE counted;

-- One row a call that has scores: of several verdicts of one name the scorers' own, else the newest. Ranges of
-- started_at reach the table, as what it is grouped by.
CREATE OR REPLACE VIEW scores_wide AS
SELECT
    project, span_id, started_at, model, session_id,
    scores['relevance'] AS relevance, scores['coherence'] AS coherence, scores['groundedness'] AS groundedness,
    scores['toxicity'] AS toxicity, scores['prompt_toxicity'] AS prompt_toxicity, scores['refusal'] AS refusal,
    scores['factual_accuracy'] AS factual_accuracy, scores['helpfulness'] AS helpfulness, scores['thumb'] AS thumb,
    scores
FROM
(
    SELECT
        project, target AS span_id, started_at, any(scores.model) AS model, any(scores.session_id) AS session_id,
        arrayReverseSort(verdict -> (verdict.2, verdict.3), groupArray(
            (toString(name), indexOf(['human', 'judge', 'otel', 'scorer'], source), version, value))) AS verdicts,
        arrayFilter((verdict, place) -> indexOf(verdicts.1, verdict.1) = place, verdicts, arrayEnumerate(verdicts))
            AS shown,
        mapFromArrays(shown.1, shown.4) AS scores
    FROM scores FINAL
    WHERE counted
    GROUP BY project, target, started_at
);

CREATE OR REPLACE VIEW sessions AS
SELECT
    project, session_id, anyIf(spans.user_id, spans.user_id != '') AS user_id, min(started_at) AS first_call_at,
    max(started_at) AS last_call_at, count() AS calls, countIf(kind = 'llm') AS conversations,
    countIf(status = 'error') AS errors, sumOrNull(spans.cost_usd) AS cost_usd,
    countIf(spans.cost_usd IS NULL AND status = 'ok') AS unpriced,
    sumOrNull(ifNull(spans.input_tokens, estimated_input_tokens)) AS input_tokens,
    sumOrNull(ifNull(spans.output_tokens, estimated_output_tokens)) AS output_tokens,
    avgOrNullIf(latency_ms, kind = 'llm') AS avg_latency_ms, arraySort(groupUniqArray(model)) AS models
FROM spans FINAL
WHERE counted AND session_id != ''
GROUP BY project, session_id;
