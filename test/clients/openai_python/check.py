"""The official `openai` package for Python, unmodified, against a running fleet.

Usage: check.py --url URL --key KEY --model NAME --silent-model NAME --engine-socket PATH --max-body-bytes N

The engine behind `model` is a simulated one: its faults are armed and its counters are read on its own socket. The
engine behind `silent-model` never begins to answer. Each check prints "ok NAME" or "not ok NAME: why"; the exit code
is the number of checks that failed.
"""

import argparse
import asyncio
import http.client
import json
import re
import socket
import sys
import time
import traceback

import openai

LIMIT_S = 10
MESSAGES = [{"role": "user", "content": "Tell me about the sea, bitte mit Grüßen 🌊."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


class EngineConnection(http.client.HTTPConnection):
    """The engine's own address, a Unix socket, with nothing of the fleet between."""

    def __init__(self, path):
        super().__init__("localhost", timeout=LIMIT_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT_S)
        self.sock.connect(self.path)


class World:
    """What every check is given."""

    def __init__(self, options):
        self.options = options
        self.attempts = 0
        self.client = self.make()
        self.impatient = self.make(max_retries=0)
        self.ask = {"model": options.model, "messages": MESSAGES, "max_tokens": 24, "temperature": 0}
        self.endless = {**self.ask, "max_tokens": 8000, "stream": True, "extra_body": {"ignore_eos": True}}

    def count(self, _request):
        self.attempts += 1

    def make(self, **more):
        arguments = {"base_url": self.options.url + "/v1", "api_key": self.options.key, **more}
        client = openai.DefaultHttpxClient(event_hooks={"request": [self.count]})
        return openai.OpenAI(http_client=client, **arguments)

    def make_async(self, **more):
        return openai.AsyncOpenAI(base_url=self.options.url + "/v1", api_key=self.options.key, **more)

    def engine(self, method, path, body=None):
        connection = EngineConnection(self.options.engine_socket)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {} if body is None else {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, (answer.status, text)
            return text
        finally:
            connection.close()

    def fault(self, **fault):
        self.engine("POST", "/sim/faults", fault)

    def running(self):
        found = re.findall(r"^vllm:num_requests_(?:running|waiting)(?:\{.*\})? (\S+)$", self.engine("GET", "/metrics"), re.M)
        assert len(found) == 2, found
        return sum(float(value) for value in found)

    def wait_idle(self):
        end = time.monotonic() + LIMIT_S
        while self.running() > 0:
            assert time.monotonic() < end, "the engine still works on a request that was left"
            time.sleep(0.02)


def failure(kind, call):
    """The error of a call, which must be of the class."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"the call went well instead of ending as {kind.__name__}")


def check_plain(world):
    answer = world.client.chat.completions.create(**world.ask)
    assert answer.choices[0].message.role == "assistant" and len(answer.choices[0].message.content) > 20
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 24
    assert answer.id == f"chatcmpl-{answer._request_id}", (answer.id, answer._request_id)
    raw = world.client.chat.completions.with_raw_response.create(**world.ask)
    assert raw.headers["x-request-id"] == raw.request_id and raw.parse().choices[0].message.content == answer.choices[0].message.content


def check_stream(world):
    plain = world.client.chat.completions.create(**world.ask).choices[0].message.content
    chunks = list(world.client.chat.completions.create(**world.ask, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]
    assert all(chunk.usage is None for chunk in chunks)
    asked = list(world.client.chat.completions.create(**world.ask, stream=True, stream_options={"include_usage": True}))
    assert asked[-1].choices == [] and asked[-1].usage.completion_tokens == 24


def check_stream_helper(world):
    # The helper refuses an answer that was cut by max_tokens, so this one ends by itself.
    whole = {key: value for key, value in world.ask.items() if key != "max_tokens"}
    tool = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}
    with world.client.chat.completions.stream(**whole, tools=[tool]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds and len(final.choices[0].message.content) > 20, kinds


def check_completions(world):
    request = {"model": world.options.model, "prompt": "Once upon a time", "max_tokens": 16, "temperature": 0}
    plain = world.client.completions.create(**request)
    assert plain.usage.completion_tokens == 16
    text = "".join(chunk.choices[0].text for chunk in world.client.completions.create(**request, stream=True))
    assert text == plain.choices[0].text and len(text) > 10


def check_embeddings(world):
    request = {"model": world.options.model, "input": ["the sea is blue", "der Ozean 🌊"]}
    by_default = world.client.embeddings.create(**request).data
    floats = world.client.embeddings.create(**request, encoding_format="float").data
    assert len(by_default) == 2 and by_default[0].embedding != by_default[1].embedding
    for left, right in zip(by_default, floats, strict=True):
        assert len(left.embedding) >= 8
        assert all(abs(a - b) < 1e-6 for a, b in zip(left.embedding, right.embedding, strict=True))


def check_models(world):
    listed = {model.id: model for model in world.client.models.list()}
    one = world.client.models.retrieve(world.options.model)
    assert "/" in one.id and one == listed[world.options.model] and one.created > 1_600_000_000


def check_tool_deltas(world):
    messages = [{"role": "user", "content": "Please call get_weather for Köln."}]
    request = {**world.ask, "messages": messages, "tools": [WEATHER], "max_tokens": 200}
    chunks = [chunk.choices[0] for chunk in world.client.chat.completions.create(**request, stream=True)]
    deltas = [call for choice in chunks for call in choice.delta.tool_calls or []]
    assert deltas[0].id and deltas[0].function.name == "get_weather" and len(deltas) > 2
    assert all(call.index == 0 and call.id in (None, deltas[0].id) for call in deltas)
    arguments = json.loads("".join(call.function.arguments or "" for call in deltas))
    assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int)
    assert chunks[-1].finish_reason == "tool_calls"
    plain = world.client.chat.completions.create(**request).choices[0].message.tool_calls
    assert json.loads(plain[0].function.arguments) == arguments


def check_leaving_a_stream(world):
    stream = world.client.chat.completions.create(**world.endless)
    for number, _chunk in enumerate(stream):
        if number == 5:
            assert world.running() == 1
            break
    stream.close()
    world.wait_idle()


def check_async(world):
    async def ask(client):
        text = ""
        async for chunk in await client.chat.completions.create(**world.ask, stream=True):
            text += chunk.choices[0].delta.content or ""
        return text

    async def cancelled(client):
        async def read():
            async for _chunk in await client.chat.completions.create(**world.endless):
                started.set()

        started = asyncio.Event()
        task = asyncio.create_task(read())
        await asyncio.wait_for(started.wait(), LIMIT_S)
        assert world.running() == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def main():
        async with world.make_async() as client:
            texts = await asyncio.gather(ask(client), ask(client), ask(client))
            plain = await client.chat.completions.create(**world.ask)
            assert set(texts) == {plain.choices[0].message.content}
            vector = await client.embeddings.create(model=world.options.model, input="x")
            assert len(vector.data[0].embedding) >= 8
            assert [model.id async for model in client.models.list()]
            await cancelled(client)

    asyncio.run(main())
    world.wait_idle()


def check_typed_errors(world):
    create = world.client.chat.completions.create
    stranger = world.make(api_key="sk-wrong")
    before = world.attempts
    wrong = failure(openai.AuthenticationError, lambda: stranger.chat.completions.create(**world.ask))
    none = failure(openai.NotFoundError, lambda: create(**{**world.ask, "model": "acme/none"}))
    failure(openai.NotFoundError, lambda: world.client.models.retrieve("acme/none"))
    field = failure(openai.BadRequestError, lambda: create(**{**world.ask, "temperature": "hot"}))
    long = failure(openai.BadRequestError, lambda: create(**{**world.ask, "max_tokens": 40_000}, stream=True))
    content = "x" * world.options.max_body_bytes
    big = failure(openai.APIStatusError, lambda: create(**{**world.ask, "messages": [{"role": "user", "content": content}]}))
    assert (wrong.code, none.code, field.code, field.param) == ("unauthenticated", "model_not_found", "invalid_value", "temperature")
    assert (long.code, big.status_code, big.code) == ("context_length_exceeded", 413, "body_too_large")
    assert world.attempts - before == 6, "none of them was tried again"
    for error in (wrong, none, field, long, big):
        assert error.request_id and error.response.headers["x-should-retry"] == "false"


def check_retries(world):
    for status in (503, 429, 500):
        world.fault(kind="refuse", status=status, count=2)
        before = world.attempts
        assert world.client.chat.completions.create(**world.ask).usage.completion_tokens == 24
        assert world.attempts - before == 3, status
        world.engine("DELETE", "/sim/faults")
    world.fault(kind="refuse", status=503, count=1)
    error = failure(openai.InternalServerError, lambda: world.impatient.chat.completions.create(**world.ask))
    assert error.status_code == 503 and error.response.headers["x-should-retry"] == "true"
    world.engine("DELETE", "/sim/faults")


def check_failure_in_a_stream(world):
    world.fault(kind="error", after_tokens=3, count=1)
    seen = []

    def read():
        for chunk in world.client.chat.completions.create(**world.ask, stream=True):
            seen.append(chunk)

    error = failure(openai.APIError, read)
    assert error.code == "engine_failed" and len(seen) > 1, (error.code, len(seen))
    world.engine("DELETE", "/sim/faults")


def check_time_limit(world):
    hasty = world.impatient.with_options(timeout=0.4)
    silent = {**world.ask, "model": world.options.silent_model}
    failure(openai.APITimeoutError, lambda: hasty.chat.completions.create(**silent))
    failure(openai.APITimeoutError, lambda: list(hasty.chat.completions.create(**silent, stream=True)))


def main():
    parser = argparse.ArgumentParser()
    for name in ("url", "key", "model", "silent-model", "engine-socket"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--max-body-bytes", type=int, required=True)
    world = World(parser.parse_args())
    failed = 0
    for name, check in list(globals().items()):
        if not name.startswith("check_"):
            continue
        try:
            check(world)
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"not ok {name}: {error!r}\n{traceback.format_exc()}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
