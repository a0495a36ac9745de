"""What the simulated backends answer beside what they say by themselves: calls of tools, and faults, in each one's own words."""

import json

KINDS = ["ollama", "vllm", "openai", "gemini"]
CALL = {"city": "Paris"}


def chat_model(kind):
    return f"{kind}-chat:1b"


def embed_model(kind):
    return f"{kind}-embed:1b"


def openai_call(kind):
    model = chat_model(kind)
    whole = {"id": "chatcmpl-t", "object": "chat.completion", "created": 1754654400, "model": model}
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_weather", "type": "function",
               "function": {"name": "get_weather", "arguments": json.dumps(CALL)}}]}
    usage = {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}
    body = whole | {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": usage}
    begin = {"index": 0, "id": "call_weather", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    deltas = [{"role": "assistant", "content": None}, {"tool_calls": [begin]}]
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in ['{"city"', ': "Paris"}']]
    chunk = whole | {"object": "chat.completion.chunk"}
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    frames = [f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n" for choice in choices]
    frames.append(f"data: {json.dumps(chunk | {'choices': [], 'usage': usage})}\n\n")
    return body, frames + ["data: [DONE]\n\n"]


def ollama_call(kind):
    line = {"model": chat_model(kind), "created_at": "2025-08-08T12:00:00Z"}
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "get_weather", "arguments": CALL}}]}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 20, "eval_count": 8}
    empty = {"role": "assistant", "content": ""}
    lines = [line | {"message": called, "done": False}, line | {"message": empty} | end]
    return line | {"message": called} | end, [json.dumps(line) + "\n" for line in lines]


def gemini_call(kind):
    part = {"functionCall": {"name": "get_weather", "args": CALL}, "thoughtSignature": "c2lnbmF0dXJl"}
    body = {"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 8, "totalTokenCount": 28},
            "modelVersion": chat_model(kind)}
    return body, [f"data: {json.dumps(body)}\r\n\r\n"]


def openai_thoughts(kind):
    message = {"role": "assistant", "content": "Blue.", "reasoning": "hm, a colour", "reasoning_content": "hm, a colour"}
    return {"id": "chatcmpl-r", "object": "chat.completion", "created": 1754654400, "model": chat_model(kind),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}}


def ollama_thoughts(kind):
    return {"model": chat_model(kind), "created_at": "2025-08-08T12:00:00Z", "done": True, "done_reason": "stop",
            "message": {"role": "assistant", "content": "Blue.", "thinking": "hm, a colour"}, "prompt_eval_count": 4, "eval_count": 5}


def gemini_thoughts(kind):
    parts = [{"text": "hm, a colour", "thought": True}, {"text": "Blue."}]
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 1, "thoughtsTokenCount": 4, "totalTokenCount": 9}}


THOUGHTS = {"ollama": ollama_thoughts, "vllm": openai_thoughts, "openai": openai_thoughts, "gemini": gemini_thoughts}
CALLS = {"ollama": ollama_call, "vllm": openai_call, "openai": openai_call, "gemini": gemini_call}


def rules(kind):
    """The script of one simulated backend; the first rule that fits decides."""
    body, frames = CALLS[kind](kind)
    asked = {"on": "chat", "containing": "weather"}
    return [
        # The answer to the tool's result stands first, because that request holds the question, too.
        {"on": "chat", "bodyContaining": "18 degrees", "reply": "It is 18 degrees in Paris."},
        asked | {"streams": False, "body": body},
        asked | {"streams": True, "frames": frames},
        {"on": "chat", "containing": "slow down", "status": 429, "headers": {"retry-after": "7"}},
        {"on": "chat", "containing": "busy once", "times": 1, "status": 429, "headers": {"retry-after": "0"}},
        {"on": "chat", "containing": "fall over", "status": 500},
        {"on": "chat", "containing": "break off", "reply": "one two three four five", "cutAfter": 2},
        {"on": "chat", "containing": "think first", "body": THOUGHTS[kind](kind)},
        {"on": "chat", "containing": "capital of France", "reply": "The capital of France is Paris."},
        {"on": "generate", "containing": "capital of France", "reply": "The capital of France is Paris."},
    ]
