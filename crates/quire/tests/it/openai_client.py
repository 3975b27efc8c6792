"""OpenAI's own client against quire: python openai_client.py URL KEY MODEL. Exits with 0 when all is as it should be."""

import sys

import openai

url, key, model = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

names = [known.id for known in client.models.list()]
assert model in names and "quire" in names, names

# A whole answer, with usage and citations.
question = {"role": "user", "content": "Who delivers the rebar?"}
whole = client.chat.completions.create(model=model, messages=[question])
message = whole.choices[0].message
assert whole.object == "chat.completion" and whole.choices[0].finish_reason == "stop"
assert message.role == "assistant" and "Ironside" in message.content, message
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
citation = message.annotations[0].url_citation
assert citation.title == "rebar.txt" and citation.url.startswith("/v1/sources/src_"), citation
assert message.content[citation.start_index : citation.end_index] == "[1]", citation

# A follow-up, as a stream, with usage at the end.
follow_up = [question, {"role": "assistant", "content": message.content}, {"role": "user", "content": "When do they come?"}]
stream = client.chat.completions.create(
    model=model, messages=follow_up, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert "Monday" in text, text
assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
assert chunks[-1].choices == [] and chunks[-1].usage is not None, chunks[-1]

# Vectors, which the client asks for in base64 and decodes; the same numbers either way.
decoded = client.embeddings.create(model="quire", input=["rebar", "steel bars"])
plain = client.embeddings.create(model="quire", input="rebar", encoding_format="float")
assert len(decoded.data) == 2 and len(decoded.data[0].embedding) == 384
assert max(abs(a - b) for a, b in zip(decoded.data[0].embedding, plain.data[0].embedding)) < 1e-5
assert decoded.usage.total_tokens > 0

# Errors are those that programs know.
for wrong, call in [
    (openai.NotFoundError, lambda: client.chat.completions.create(model="quire/none", messages=[question])),
    (openai.BadRequestError, lambda: client.chat.completions.create(model=model, messages=[])),
    (openai.BadRequestError, lambda: client.embeddings.create(model="quire", input="")),
    (openai.AuthenticationError, lambda: openai.OpenAI(base_url=f"{url}/v1", api_key="no", max_retries=0).models.list()),
]:
    try:
        call()
    except wrong as error:
        assert error.body["message"] and error.body["type"], error.body
    else:
        raise AssertionError(f"no {wrong.__name__}")
