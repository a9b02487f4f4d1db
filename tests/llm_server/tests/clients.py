"""The official clients against the test server: OLLAMA_URL, OPENAI_URL. Fails with the first thing that is not so."""

import base64
import os

import ollama
import openai

PNG = base64.b64decode(os.environ["PNG"])
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
          "required": ["city", "people"], "additionalProperties": False}
ASKED = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "how are you"}]


def raised(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def check_ollama():
    client = ollama.Client(host=os.environ["OLLAMA_URL"])
    assert "llama3.2:latest" in [model.model for model in client.list().models]

    whole = client.chat(model="llama3.2", messages=ASKED, options={"temperature": 0}, keep_alive="5m")
    assert whole.message.content == "You said: how are you", whole
    assert (whole.done, whole.done_reason, whole.prompt_eval_count, whole.eval_count) == (True, "stop", 5, 5), whole
    assert whole.total_duration > whole.eval_duration > 0, whole

    parts = list(client.chat(model="slow", messages=ASKED, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content, parts
    assert [part.done for part in parts] == [False] * 5 + [True], parts
    assert parts[-1].eval_count == 5, parts[-1]

    assert client.generate(model="llama3.2", prompt="hello").response == "You said: hello"
    pieces = [part.response for part in client.generate(model="llama3.2", prompt="hello you", stream=True)]
    assert len(pieces) > 2 and "".join(pieces) == "You said: hello you", pieces

    seen = client.chat(model="llava", messages=[{"role": "user", "content": "what?", "images": [PNG]}])
    assert seen.message.content == f"I see a PNG of 2 x 3 pixels in {len(PNG)} bytes. You said: what?", seen

    made = client.chat(model="llama3.2", messages=ASKED, format=SCHEMA)
    assert made.message.content == '{"city":"You said: how are you","people":7}', made

    embedded = client.embed(model="nomic-embed-text", input=["a", "bb b"])
    assert [list(vector) for vector in embedded.embeddings] == [[1, 12.125, -0.5], [4, 40.75, -0.5]], embedded

    unknown = raised(ollama.ResponseError, lambda: client.chat(model="llama9", messages=ASKED))
    assert (unknown.status_code, unknown.error) == (404, "model 'llama9' not found"), unknown
    limited = raised(ollama.ResponseError, lambda: client.chat(model="limited", messages=ASKED))
    assert limited.status_code == 429, limited
    broken = raised(ollama.ResponseError, lambda: list(client.chat(model="fails", messages=ASKED, stream=True)))
    assert "running the model" in broken.error, broken
    raised(ConnectionError, lambda: ollama.Client(host="http://127.0.0.1:1").list())


def check_openai():
    client = openai.OpenAI(base_url=os.environ["OPENAI_URL"], api_key="sk-test", max_retries=0)
    assert "llama3.2" in [model.id for model in client.models.list()]
    chat = client.chat.completions.create

    whole = chat(model="llama3.2", messages=ASKED, temperature=0, max_tokens=100)
    assert whole.choices[0].message.content == "You said: how are you", whole
    assert whole.choices[0].finish_reason == "stop", whole
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (5, 5, 10), whole

    parts = list(chat(model="slow", messages=ASKED, stream=True, stream_options={"include_usage": True}))
    text = "".join(choice.delta.content or "" for part in parts for choice in part.choices)
    assert text == "You said: how are you", parts
    assert [part.usage.total_tokens for part in parts if part.usage] == [10], parts
    assert not [part for part in chat(model="llama3.2", messages=ASKED, stream=True) if part.usage]

    url = {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()}
    content = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": url}]
    seen = chat(model="llava", messages=[{"role": "user", "content": content}])
    assert seen.choices[0].message.content == f"I see a PNG of 2 x 3 pixels in {len(PNG)} bytes. You said: what?", seen

    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    made = chat(model="llama3.2", messages=ASKED, response_format=schema)
    assert made.choices[0].message.content == '{"city":"You said: how are you","people":7}', made

    for options in ({}, {"encoding_format": "float"}):
        embedded = client.embeddings.create(model="nomic-embed-text", input=["a", "bb b"], **options)
        vectors = {item.index: item.embedding for item in embedded.data}
        assert vectors == {0: [1, 12.125, -0.5], 1: [4, 40.75, -0.5]}, embedded
        assert embedded.usage.prompt_tokens == 3, embedded

    unknown = raised(openai.NotFoundError, lambda: chat(model="llama9", messages=ASKED))
    assert unknown.code == "model_not_found", unknown
    limited = raised(openai.RateLimitError, lambda: chat(model="limited", messages=ASKED))
    assert limited.response.headers["retry-after"] == "7", limited
    raised(openai.BadRequestError, lambda: chat(model="picky", messages=ASKED))
    raised(openai.InternalServerError, lambda: chat(model="busy", messages=ASKED))
    raised(openai.APIError, lambda: list(chat(model="fails", messages=ASKED, stream=True)))
    stranger = openai.OpenAI(base_url=os.environ["OPENAI_URL"], api_key="sk-other", max_retries=0)
    raised(openai.AuthenticationError, lambda: stranger.chat.completions.create(model="llama3.2", messages=ASKED))


check_ollama()
check_openai()
print("as expected")
