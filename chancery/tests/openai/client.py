"""What an application does with the `openai` package, against the gateway at the address that is the first argument."""

import asyncio
import io
import sys

import openai

BASE = sys.argv[1]
MESSAGES = [{"role": "user", "content": "count for me"}]


def client(key="sk-alice", **options):
    return openai.OpenAI(base_url=BASE, api_key=key, max_retries=0, timeout=30, **options)


def refused(kind, status, call, message=None, code=None):
    """Calls, and wants the package's own exception for the status, with what the gateway says in it."""
    try:
        call()
    except kind as error:
        assert error.status_code == status, (error.status_code, status)
        if message is not None:
            assert message in error.body["message"], error.body
            assert error.type == "invalid_request_error", error.type
        if code is not None:
            assert error.code == code, error.code
        return error
    except openai.APIError as error:
        raise AssertionError(f"{kind.__name__} was expected, not {error!r}") from error
    raise AssertionError(f"{kind.__name__} was expected, not an answer")


def chat():
    answer = client().chat.completions.create(model="small", messages=MESSAGES)
    assert answer.model == "small" and answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content.startswith("one answers as small:")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    raw = client().chat.completions.with_raw_response.create(model="org/large", messages=MESSAGES)
    assert raw.headers["x-sim-server"] == "two" and raw.parse().choices[0].finish_reason == "stop"


def stream():
    asked = {"model": "small", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client().chat.completions.create(**asked))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("one answers as small:"), text
    assert len(chunks) > 10 and chunks[-1].usage.completion_tokens == 16
    with client().chat.completions.create(model="small", messages=MESSAGES, stream=True) as early:
        next(iter(early))


async def at_once():
    async with openai.AsyncOpenAI(base_url=BASE, api_key="sk-alice", max_retries=0) as many:

        async def one(number):
            model = ("small", "org/large")[number % 2]
            answer = await many.chat.completions.create(model=model, messages=MESSAGES)
            assert answer.model == ("small", "large-2")[number % 2]

        await asyncio.gather(*(one(number) for number in range(50)))
        chunks = [chunk async for chunk in await many.completions.create(model="small", prompt="go on", stream=True)]
        assert "".join(chunk.choices[0].text for chunk in chunks).startswith("one answers")


def responses():
    answer = client().responses.create(model="small", input="count for me")
    assert answer.output_text.startswith("one answers as small:") and answer.usage.output_tokens == 16
    events = [event.type for event in client().responses.create(model="small", input="count", stream=True)]
    assert events[0] == "response.created" and events[-1] == "response.completed", events


def embeddings():
    answer = client().embeddings.create(model="small", input=["a text", "another"], dimensions=12)
    assert [len(item.embedding) for item in answer.data] == [12, 12]
    assert answer.data[0].embedding != answer.data[1].embedding
    plain = client().embeddings.create(model="small", input="a text", dimensions=12, encoding_format="float")
    assert all(abs(a - b) < 1e-6 for a, b in zip(plain.data[0].embedding, answer.data[0].embedding))


def models():
    listed = client().models.list()
    assert [model.id for model in listed] == ["claude", "down", "org/large", "small"]
    assert {model.owned_by for model in listed} == {"Envoy AI Gateway"}


def audio():
    sound = bytes(range(256)) * 16 + b"\r\n--not-a-boundary\r\n"
    file = ("speech.wav", io.BytesIO(sound), "audio/wav")
    heard = client().audio.transcriptions.create(model="small", file=file)
    assert heard.text.startswith("one answers as small:") and heard.usage.seconds == 5
    translated = client().audio.translations.create(model="org/large", file=("a.wav", sound))
    assert translated.text.startswith("two answers as large-2:")


def errors():
    ask = lambda client, model="small": client.chat.completions.create(model=model, messages=MESSAGES)
    refused(openai.AuthenticationError, 401, lambda: ask(client("wrong")))
    refused(openai.AuthenticationError, 401, lambda: client("wrong").models.list())
    refused(openai.NotFoundError, 404, lambda: ask(client(), "unknown"), "No matching route found", "model_not_found")
    refused(openai.NotFoundError, 404, lambda: client().files.list(), "unsupported path: /v1/files", "unknown_url")
    refused(openai.BadRequestError, 400, lambda: ask(client(), " padded"), "`model` is not a name", "invalid_body")
    refused(openai.UnprocessableEntityError, 422, lambda: ask(client(), "claude"), "No backend of this model")
    # The server's own refusal comes through as it is.
    long = [{"role": "user", "content": "word " * 40_000}]
    error = refused(openai.BadRequestError, 400, lambda: client().chat.completions.create(model="small", messages=long))
    assert "maximum context length is 32768 tokens" in error.body["message"], error.body
    error = refused(openai.RateLimitError, 429, lambda: ask(client(default_headers={"x-user-id": "spent"})))
    assert error.response.headers["x-envoy-ratelimited"] == "true"
    error = refused(openai.InternalServerError, 503, lambda: ask(client(), "down"))
    assert error.body["message"], error.body


chat()
stream()
asyncio.run(at_once())
responses()
embeddings()
models()
audio()
errors()
