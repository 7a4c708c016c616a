"""The pages that people look at: a Streamlit app that asks our own API, as any other client would."""
