//! `POST /{chainID}/v1/chat/completions`: a stored chain behind OpenAI's chat API (`docs/api.md`, chat with a stored chain).
