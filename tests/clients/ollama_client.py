"""PyPI's `ollama`, as it is, against Penstock over backends of every kind."""

import asyncio

import ollama
from pydantic import BaseModel

from penstock import (BASE, QUESTION, REAL_CHAT, REAL_EMBED, REAL_QUESTION, TOKEN, chat_model, check, check_each_kind, check_real, contains,
                      cosine, embed_model, equal, raises, run)

client = ollama.Client(host=BASE, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)


class City(BaseModel):
    name: str
    country: str


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Which city
    """
    return "18 degrees"


def said(text):
    return [{"role": "user", "content": text}]


@check_each_kind
def a_chat(kind):
    reply = client.chat(chat_model(kind), said(QUESTION), options={"temperature": 0, "num_predict": 50})
    contains(reply.message.content, "Paris")
    equal((reply.done, reply.done_reason, reply.message.role), (True, "stop", "assistant"))
    assert reply.model and reply.eval_count > 0 and reply.prompt_eval_count > 0 and reply.total_duration > 0, reply


@check_each_kind
def a_streamed_chat(kind):
    lines = list(client.chat(chat_model(kind), said(QUESTION), stream=True))
    equal("".join(line.message.content or "" for line in lines), "The capital of France is Paris.")
    assert len(lines) > 3, f"not streamed: {lines}"
    equal([line.done for line in lines], [False] * (len(lines) - 1) + [True])


@check_each_kind
def an_asynchronous_chat(kind):
    async def ask():
        reader = ollama.AsyncClient(host=BASE, headers={"Authorization": f"Bearer {TOKEN}"})
        return "".join([line.message.content or "" async for line in await reader.chat(chat_model(kind), said(QUESTION), stream=True)])
    contains(asyncio.run(ask()), "Paris")


@check_each_kind
def a_stream_that_breaks_off_is_an_error(kind):
    got = []

    def read():
        got.extend(line for line in client.chat(chat_model(kind), said("Please break off."), stream=True) if not got.append(line))
    error = raises(ollama.ResponseError, read)
    assert got and error.error, (got, error)
    assert not any(line.done for line in got if line), got


@check_each_kind
def a_prompt(kind):
    reply = client.generate(chat_model(kind), QUESTION)
    contains(reply.response, "Paris")
    lines = list(client.generate(chat_model(kind), QUESTION, stream=True))
    contains("".join(line.response for line in lines), "Paris")
    equal(lines[-1].done, True)


@check_each_kind
def a_tool_is_called_and_its_result_used(kind):
    messages = said("How is the weather in Paris?")
    first = client.chat(chat_model(kind), messages, tools=[get_weather])
    [call] = first.message.tool_calls
    equal((call.function.name, dict(call.function.arguments)), ("get_weather", {"city": "Paris"}))
    messages += [first.message, {"role": "tool", "tool_name": "get_weather", "content": get_weather(**call.function.arguments)}]
    contains(client.chat(chat_model(kind), messages, tools=[get_weather]).message.content, "18 degrees")


@check_each_kind
def a_tool_is_called_in_a_stream(kind):
    lines = list(client.chat(chat_model(kind), said("How is the weather in Paris?"), tools=[get_weather], stream=True))
    calls = [call for line in lines for call in line.message.tool_calls or []]
    equal([(call.function.name, dict(call.function.arguments)) for call in calls], [("get_weather", {"city": "Paris"})])
    equal(lines[-1].done, True)


@check_each_kind
def a_format(kind):
    reply = client.chat(chat_model(kind), said("Name a city."), format=City.model_json_schema())
    City.model_validate_json(reply.message.content)
    contains(client.chat(chat_model(kind), said("Say something."), format="json").message.content, "{")


@check_each_kind
def embeddings_of_both_generations(kind):
    many = client.embed(embed_model(kind), ["a cat", "a bank"])
    equal(len(many.embeddings), 2)
    for vector in many.embeddings:
        assert abs(sum(number * number for number in vector) - 1) < 1e-3, "not of length 1"
    one = client.embed(embed_model(kind), "a cat")
    assert cosine(one.embeddings[0], many.embeddings[0]) > 0.9999
    old = client.embeddings(embed_model(kind), "a cat")
    assert cosine(old.embedding, one.embeddings[0]) > 0.9999


@check_each_kind
def a_model_is_shown(kind):
    shown = client.show(chat_model(kind))
    contains(shown.capabilities, "completion")
    assert shown.details is not None and shown.modelinfo is not None, shown


@check_each_kind
def errors_carry_their_status(kind):
    for text, statuses in [("Please slow down.", (429,)), ("Please fall over.", (500, 502))]:
        error = raises(ollama.ResponseError, lambda: client.chat(chat_model(kind), said(text)))
        assert error.status_code in statuses and error.error, error


@check_each_kind
def what_it_thinks_stands_apart(kind):
    reply = client.chat(chat_model(kind), said("Please think first."), think=True)
    equal((reply.message.thinking, reply.message.content), ("hm, a colour", "Blue."))


@check
def models_are_listed():
    names = {model.model for model in client.list().models}
    wanted = {chat_model(kind) for kind in ("ollama", "vllm", "openai")} | {embed_model("ollama")}
    assert wanted <= names, f"missing: {wanted - names}"


@check
def running_models_are_told():
    assert any(model.model == chat_model("vllm") for model in client.ps().models), client.ps()


@check
def an_unknown_model_is_not_found():
    for call in (lambda: client.chat("no-such-model", said("hi")), lambda: client.show("no-such-model"),
                 lambda: client.embed("no-such-model", "x"), lambda: list(client.generate("no-such-model", "x", stream=True))):
        error = raises(ollama.ResponseError, call)
        equal(error.status_code, 404)
        contains(error.error, "not found")


@check
def a_wrong_token_is_refused():
    stranger = ollama.Client(host=BASE, headers={"Authorization": "Bearer wrong"})
    equal(raises(ollama.ResponseError, stranger.list).status_code, 401)


@check
def models_are_not_managed_here():
    equal(client.pull(chat_model("vllm")).status, "success")
    equal(raises(ollama.ResponseError, lambda: client.delete(chat_model("vllm"))).status_code, 403)


@check
def an_alias_and_a_chain_answer():
    contains(client.chat("assistant", said(QUESTION)).message.content, "Paris")
    contains(client.chat("chain/front-desk", said(QUESTION)).message.content, "Paris")


@check_real(REAL_CHAT)
def a_chat_a_stream_and_a_format():
    calm = {"temperature": 0, "num_predict": 40}
    reply = client.chat(REAL_CHAT, said(REAL_QUESTION), options=calm)
    contains(reply.message.content, "Paris")
    lines = list(client.chat(REAL_CHAT, said(REAL_QUESTION), options=calm, stream=True))
    equal("".join(line.message.content or "" for line in lines), reply.message.content)
    made = client.chat(REAL_CHAT, said("Paris is the capital of France."), format=City.model_json_schema(),
                       options={"temperature": 0, "num_predict": 200})
    City.model_validate_json(made.message.content)


@check_real(REAL_EMBED)
def meanings_in_embeddings():
    cat, kitten, bank = client.embed(REAL_EMBED, ["A cat sleeps on the sofa.", "A kitten naps on the couch.",
                                                  "The bank raised its interest rate."]).embeddings
    assert cosine(cat, kitten) > cosine(cat, bank) + 0.2


run()
