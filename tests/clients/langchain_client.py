"""PyPI's `langchain-openai`, as it is, against Penstock over backends of every kind."""

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from penstock import (BASE, QUESTION, REAL_CHAT, REAL_EMBED, REAL_QUESTION, TOKEN, chat_model, check, check_each_kind, check_real, contains,
                      cosine, embed_model, equal, raises, run)


class City(BaseModel):
    """A city."""
    name: str
    country: str


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return "18 degrees"


def chat(model, **more):
    return ChatOpenAI(model=model, base_url=f"{BASE}/v1", api_key=TOKEN, max_retries=0, timeout=60, **more)


def embedder(model):
    # Its own cutting by tokens needs vocabularies from elsewhere.
    return OpenAIEmbeddings(model=model, base_url=f"{BASE}/v1", api_key=TOKEN, check_embedding_ctx_length=False, max_retries=0)


@check_each_kind
def a_chat(kind):
    reply = chat(chat_model(kind), temperature=0).invoke(QUESTION)
    contains(reply.content, "Paris")
    assert reply.usage_metadata["output_tokens"] > 0, reply
    equal(reply.response_metadata["finish_reason"], "stop")


@check_each_kind
def a_streamed_chat(kind):
    pieces = list(chat(chat_model(kind), stream_usage=True).stream(QUESTION))
    equal("".join(piece.content for piece in pieces), "The capital of France is Paris.")
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert whole.usage_metadata["output_tokens"] > 0, whole


@check_each_kind
def a_tool_is_called_and_its_result_used(kind):
    able = chat(chat_model(kind)).bind_tools([get_weather])
    messages = [HumanMessage("How is the weather in Paris?")]
    first = able.invoke(messages)
    [call] = first.tool_calls
    equal((call["name"], call["args"]), ("get_weather", {"city": "Paris"}))
    messages += [first, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
    contains(able.invoke(messages).content, "18 degrees")
    whole = None
    for piece in able.stream(messages[:1]):
        whole = piece if whole is None else whole + piece
    equal([(call["name"], call["args"]) for call in whole.tool_calls], [("get_weather", {"city": "Paris"})])


@check_each_kind
def structured_output(kind):
    for method in ("json_schema", "json_mode"):
        able = chat(chat_model(kind)).with_structured_output(City if method == "json_schema" else None, method=method)
        made = able.invoke("Name a city, as JSON.")
        assert isinstance(made, City if method == "json_schema" else dict), made


@check_each_kind
def a_response(kind):
    reply = chat(chat_model(kind), use_responses_api=True).invoke(QUESTION)
    contains(reply.text if isinstance(reply.text, str) else reply.text(), "Paris")


@check_each_kind
def embeddings(kind):
    able = embedder(embed_model(kind))
    cat, bank = able.embed_documents(["a cat", "a bank"])
    assert cosine(able.embed_query("a cat"), cat) > 0.9999 > cosine(cat, bank)


@check
def errors_have_their_classes():
    raises_not_found = raises(openai.NotFoundError, lambda: chat("no-such-model").invoke("hi"))
    equal(raises_not_found.code, "model_not_found")
    error = raises(openai.RateLimitError, lambda: chat(chat_model("gemini")).invoke("Please slow down."))
    equal(error.status_code, 429)


@check_real(REAL_CHAT)
def a_chat_a_stream_and_structured_output():
    able = chat(REAL_CHAT, temperature=0, max_tokens=200)
    contains(able.invoke(REAL_QUESTION).content, "Paris")
    contains("".join(piece.content for piece in able.stream(REAL_QUESTION)), "Paris")
    made = able.with_structured_output(City, method="json_schema").invoke("Paris is the capital of France.")
    assert isinstance(made, City), made


@check_real(REAL_EMBED)
def meanings_in_embeddings():
    cat, kitten, bank = embedder(REAL_EMBED).embed_documents(
        ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "The bank raised its interest rate."])
    assert cosine(cat, kitten) > cosine(cat, bank) + 0.2


run()
