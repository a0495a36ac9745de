"""PyPI's `litellm` as a client, as it is, in both dialects, against Penstock over backends of every kind."""

import json

import litellm
from pydantic import BaseModel

from penstock import (BASE, QUESTION, REAL_CHAT, REAL_EMBED, REAL_QUESTION, TOKEN, chat_model, check, check_each_kind, check_real, contains,
                      cosine, embed_model, equal, raises, run)

WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather in a city",
           "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


class City(BaseModel):
    name: str
    country: str


def ask(text, model, **more):
    messages = more.pop("messages", [{"role": "user", "content": text}])
    return litellm.completion(model=f"openai/{model}", api_base=f"{BASE}/v1", api_key=TOKEN, max_retries=0, messages=messages, **more)


def ask_as_ollama(text, model, **more):
    return litellm.completion(model=f"ollama_chat/{model}", api_base=BASE, api_key=TOKEN,
                              messages=[{"role": "user", "content": text}], **more)


@check_each_kind
def a_chat_in_openais_dialect(kind):
    reply = ask(QUESTION, chat_model(kind))
    contains(reply.choices[0].message.content, "Paris")
    assert reply.usage.completion_tokens > 0, reply


@check_each_kind
def a_chat_in_ollamas_dialect(kind):
    contains(ask_as_ollama(QUESTION, chat_model(kind)).choices[0].message.content, "Paris")
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask_as_ollama(QUESTION, chat_model(kind), stream=True)]
    contains("".join(pieces), "Paris")


@check_each_kind
def a_streamed_chat(kind):
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(QUESTION, chat_model(kind), stream=True)]
    equal("".join(pieces), "The capital of France is Paris.")


@check_each_kind
def a_tool_is_called_and_its_result_used(kind):
    messages = [{"role": "user", "content": "How is the weather in Paris?"}]
    first = ask("", chat_model(kind), messages=messages, tools=[WEATHER]).choices[0].message
    [call] = first.tool_calls
    equal((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))
    messages += [first.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    contains(ask("", chat_model(kind), messages=messages, tools=[WEATHER]).choices[0].message.content, "18 degrees")


@check_each_kind
def structured_output(kind):
    City.model_validate_json(ask("Name a city.", chat_model(kind), response_format=City).choices[0].message.content)


@check_each_kind
def embeddings(kind):
    made = litellm.embedding(model=f"openai/{embed_model(kind)}", input=["a cat", "a bank"], api_base=f"{BASE}/v1", api_key=TOKEN,
                             encoding_format="float")
    equal([item["index"] for item in made.data], [0, 1])
    assert len(made.data[0]["embedding"]) > 3


@check
def errors_have_their_classes():
    raises(litellm.NotFoundError, lambda: ask("hi", "no-such-model"))
    raises(litellm.RateLimitError, lambda: ask("Please slow down.", chat_model("ollama")))
    error = raises(litellm.AuthenticationError, lambda: litellm.completion(
        model=f"openai/{chat_model('vllm')}", api_base=f"{BASE}/v1", api_key="wrong", max_retries=0,
        messages=[{"role": "user", "content": "hi"}]))
    equal(error.status_code, 401)


@check_real(REAL_CHAT)
def a_chat_a_stream_and_structured_output():
    contains(ask(REAL_QUESTION, REAL_CHAT, temperature=0, max_tokens=40).choices[0].message.content, "Paris")
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(REAL_QUESTION, REAL_CHAT, temperature=0, max_tokens=40, stream=True)]
    contains("".join(pieces), "Paris")
    made = ask("Paris is the capital of France.", REAL_CHAT, temperature=0, max_tokens=200, response_format=City)
    City.model_validate_json(made.choices[0].message.content)


@check_real(REAL_EMBED)
def meanings_in_embeddings():
    made = litellm.embedding(model=f"openai/{REAL_EMBED}", api_base=f"{BASE}/v1", api_key=TOKEN, encoding_format="float", input=[
        "A cat sleeps on the sofa.", "A kitten naps on the couch.", "The bank raised its interest rate."])
    cat, kitten, bank = (item["embedding"] for item in made.data)
    assert cosine(cat, kitten) > cosine(cat, bank) + 0.2


run()
