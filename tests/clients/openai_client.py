"""PyPI's `openai`, as it is, against Penstock over backends of every kind."""

import json
import time

import openai
from pydantic import BaseModel

from penstock import (BASE, QUESTION, REAL_CHAT, REAL_EMBED, REAL_QUESTION, TOKEN, chat_model, check, check_each_kind, check_real, contains,
                      cosine, embed_model, equal, raises, run)

client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=TOKEN, max_retries=0, timeout=60)
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather in a city",
           "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


class City(BaseModel):
    name: str
    country: str


def ask(text, model, **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


@check_each_kind
def a_chat(kind):
    reply = ask(QUESTION, chat_model(kind), temperature=0, max_tokens=50)
    contains(reply.choices[0].message.content, "Paris")
    equal((reply.object, reply.choices[0].finish_reason, reply.choices[0].message.role), ("chat.completion", "stop", "assistant"))
    assert reply.usage.prompt_tokens > 0 and reply.usage.completion_tokens > 0, reply.usage
    equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens)


@check_each_kind
def who_answered_is_told_in_headers(kind):
    raw = client.chat.completions.with_raw_response.create(
        model=chat_model(kind), messages=[{"role": "user", "content": QUESTION}])
    equal((raw.headers["x-penstock-model"], raw.headers["x-penstock-attempts"]), (chat_model(kind), "1"))
    assert raw.headers["x-penstock-backend"] and raw.headers["x-penstock-pool"] and raw.request_id, raw.headers


@check_each_kind
def a_streamed_chat(kind):
    chunks = list(ask(QUESTION, chat_model(kind), stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    equal("".join(pieces), "The capital of France is Paris.")
    assert len(pieces) > 3, f"not streamed: {pieces}"
    finishes = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    equal([reason for reason in finishes if reason], ["stop"])
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices, chunks[-1]
    equal(len({chunk.id for chunk in chunks}), 1)


@check_each_kind
def a_stream_that_breaks_off_is_an_error(kind):
    got = []

    def read():
        for chunk in ask("Please break off.", chat_model(kind), stream=True):
            got.append(chunk)
    error = raises(openai.APIError, read)
    assert got and error.message, (got, error)


@check_each_kind
def a_tool_is_called_and_its_result_used(kind):
    messages = [{"role": "user", "content": "How is the weather in Paris?"}]
    asked = dict(model=chat_model(kind), tools=[WEATHER], tool_choice="auto")
    first = client.chat.completions.create(messages=messages, **asked).choices[0]
    equal(first.finish_reason, "tool_calls")
    [call] = first.message.tool_calls
    equal((call.type, call.function.name, json.loads(call.function.arguments)), ("function", "get_weather", {"city": "Paris"}))
    assert call.id
    messages += [first.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    contains(client.chat.completions.create(messages=messages, **asked).choices[0].message.content, "18 degrees")


@check_each_kind
def a_tool_is_called_in_a_stream(kind):
    with client.chat.completions.stream(model=chat_model(kind), tools=[WEATHER],
                                        messages=[{"role": "user", "content": "How is the weather in Paris?"}]) as stream:
        reply = stream.get_final_completion().choices[0]
    equal(reply.finish_reason, "tool_calls")
    [call] = reply.message.tool_calls
    equal((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))


@check_each_kind
def only_some_tools_are_allowed(kind):
    other = {"type": "function", "function": {"name": "wipe_disk"}}
    named = {"type": "function", "function": {"name": "get_weather"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}
    reply = ask("How is the weather in Paris?", chat_model(kind), tools=[other, WEATHER], tool_choice=choice)
    equal([call.function.name for call in reply.choices[0].message.tool_calls], ["get_weather"])


@check_each_kind
def structured_output(kind):
    reply = client.chat.completions.parse(model=chat_model(kind), response_format=City,
                                          messages=[{"role": "user", "content": "Name a city."}])
    assert isinstance(reply.choices[0].message.parsed, City), reply


@check_each_kind
def a_json_object(kind):
    reply = ask("Say something in JSON.", chat_model(kind), response_format={"type": "json_object"})
    assert isinstance(json.loads(reply.choices[0].message.content), dict), reply


@check_each_kind
def a_text_completion(kind):
    reply = client.completions.create(model=chat_model(kind), prompt=QUESTION, max_tokens=50)
    contains(reply.choices[0].text, "Paris")
    pieces = [chunk.choices[0].text for chunk in client.completions.create(model=chat_model(kind), prompt=QUESTION, stream=True)
              if chunk.choices]
    contains("".join(pieces), "Paris")


@check_each_kind
def a_text_completion_between_two_texts(kind):
    def between():
        return client.completions.create(model=chat_model(kind), prompt=QUESTION, suffix="That is all.")
    if kind == "gemini":
        equal(raises(openai.BadRequestError, between).param, "suffix")
    else:
        contains(between().choices[0].text, "Paris")


@check_each_kind
def a_model_that_makes_no_vectors_is_a_bad_request(kind):
    error = raises(openai.BadRequestError, lambda: client.embeddings.create(model=chat_model(kind), input="a cat"))
    equal((error.param, error.type), ("model", "invalid_request_error"))


@check_each_kind
def embeddings_as_numbers_and_as_base64(kind):
    texts = ["a cat", "a kitten", "a bank"]
    # Unless it is told otherwise, this client asks for base64 and decodes it.
    decoded = client.embeddings.create(model=embed_model(kind), input=texts)
    numbers = client.embeddings.create(model=embed_model(kind), input=texts, encoding_format="float")
    equal([item.index for item in decoded.data], [0, 1, 2])
    for a, b in zip(decoded.data, numbers.data):
        assert len(a.embedding) == len(b.embedding) > 3 and cosine(a.embedding, b.embedding) > 0.9999
    one = client.embeddings.create(model=embed_model(kind), input="a cat")
    assert cosine(one.data[0].embedding, numbers.data[0].embedding) > 0.9999


@check_each_kind
def a_response(kind):
    reply = client.responses.create(model=chat_model(kind), input=QUESTION, instructions="Be brief.")
    contains(reply.output_text, "Paris")
    equal((reply.object, reply.status), ("response", "completed"))
    assert reply.usage.output_tokens > 0


@check_each_kind
def a_streamed_response(kind):
    events = list(client.responses.create(model=chat_model(kind), input=QUESTION, stream=True))
    equal((events[0].type, events[-1].type), ("response.created", "response.completed"))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    equal(text, "The capital of France is Paris.")
    equal(events[-1].response.output_text, text)


@check_each_kind
def a_tool_in_a_response(kind):
    tool = {"type": "function"} | WEATHER["function"]
    asked = [{"role": "user", "content": "How is the weather in Paris?"}]
    first = client.responses.create(model=chat_model(kind), input=asked, tools=[tool])
    [call] = [item for item in first.output if item.type == "function_call"]
    equal((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Paris"}))
    asked += [item.model_dump(exclude_none=True) for item in first.output]
    asked.append({"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"})
    contains(client.responses.create(model=chat_model(kind), input=asked, tools=[tool]).output_text, "18 degrees")


@check_each_kind
def structured_output_of_a_response(kind):
    reply = client.responses.parse(model=chat_model(kind), input="Name a city.", text_format=City)
    assert isinstance(reply.output_parsed, City), reply


@check_each_kind
def a_rate_limit_has_its_class_and_its_wait(kind):
    error = raises(openai.RateLimitError, lambda: ask("Please slow down.", chat_model(kind)))
    equal((error.status_code, error.code, error.response.headers["retry-after"]), (429, "rate_limit_exceeded", "7"))


@check_each_kind
def a_failed_backend_is_a_server_error(kind):
    error = raises(openai.InternalServerError, lambda: ask("Please fall over.", chat_model(kind)))
    assert error.status_code in (500, 502) and error.type == "server_error", error


@check_each_kind
def the_client_tries_again_what_may_be_tried_again(kind):
    patient = client.with_options(max_retries=2)
    began = time.monotonic()
    raw = patient.chat.completions.with_raw_response.create(
        model=chat_model(kind), messages=[{"role": "user", "content": "Be busy once."}])
    assert time.monotonic() - began < 10
    assert raw.retries_taken >= 1 or int(raw.headers["x-penstock-attempts"]) > 1, raw.headers


@check
def an_unknown_model_is_not_found_and_not_tried_again():
    patient = client.with_options(max_retries=5)
    began = time.monotonic()
    error = raises(openai.NotFoundError, lambda: patient.chat.completions.create(
        model="no-such-model", messages=[{"role": "user", "content": "hi"}]))
    assert time.monotonic() - began < 2
    equal((error.code, error.type), ("model_not_found", "invalid_request_error"))


@check
def a_wrong_key_is_an_authentication_error():
    stranger = openai.OpenAI(base_url=f"{BASE}/v1", api_key="wrong", max_retries=0)
    error = raises(openai.AuthenticationError, lambda: stranger.models.list())
    equal(error.code, "invalid_api_key")


@check
def a_bad_request_names_what_is_wrong():
    for kind in ("vllm", "gemini"):
        error = raises(openai.BadRequestError, lambda: client.chat.completions.create(model=chat_model(kind), messages="hello"))
        equal((error.type, bool(error.message)), ("invalid_request_error", True))
    # A backend of the client's own dialect has its say; for every other one we have.
    contains(error.message, "messages")


@check_each_kind
def what_it_thinks_stands_apart(kind):
    message = ask("Please think first.", chat_model(kind)).choices[0].message
    equal((message.content, message.model_extra.get("reasoning_content")), ("Blue.", "hm, a colour"))


@check
def models_are_listed_and_found():
    names = {model.id for model in client.models.list()}
    wanted = {chat_model(kind) for kind in ("ollama", "vllm", "openai")}
    assert wanted <= names, f"missing: {wanted - names}"
    equal(client.models.retrieve(chat_model("vllm")).id, chat_model("vllm"))
    raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))


@check
def an_alias_falls_back_and_a_chain_answers():
    contains(ask(QUESTION, "assistant").choices[0].message.content, "Paris")
    contains(ask(QUESTION, "chain/front-desk").choices[0].message.content, "Paris")
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(QUESTION, "chain/front-desk", stream=True) if chunk.choices]
    contains("".join(pieces), "Paris")


@check_real(REAL_CHAT)
def a_chat_a_stream_and_structured_output():
    reply = ask(REAL_QUESTION, REAL_CHAT, temperature=0, max_tokens=40)
    contains(reply.choices[0].message.content, "Paris")
    chunks = list(ask(REAL_QUESTION, REAL_CHAT, temperature=0, max_tokens=40, stream=True))
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), reply.choices[0].message.content)
    parsed = client.chat.completions.parse(model=REAL_CHAT, response_format=City, temperature=0, max_tokens=200,
                                           messages=[{"role": "user", "content": "Paris is the capital of France."}])
    assert isinstance(parsed.choices[0].message.parsed, City), parsed


@check_real(REAL_EMBED)
def meanings_in_embeddings():
    texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "The bank raised its interest rate."]
    vectors = [item.embedding for item in client.embeddings.create(model=REAL_EMBED, input=texts).data]
    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]) + 0.2


run()
