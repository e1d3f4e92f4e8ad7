"""What OpenAI's Python client makes of a server: prints what it got as one JSON object."""

import json
import os

import openai

agent = os.environ["AGENT"]
client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"])
question = [{"role": "user", "content": os.environ["QUESTION"]}]
got = {"version": openai.__version__}

got["models"] = [model.id for model in client.models.list()]
got["model"] = client.models.retrieve(agent).owned_by

answer = client.chat.completions.create(
    model=agent, messages=[{"role": "system", "content": "Be a pirate."}, *question], user="user_456", temperature=0.2
)
message = answer.choices[0].message
got["answer"] = {
    "text": message.content,
    "role": message.role,
    "finish": answer.choices[0].finish_reason,
    "usage": answer.usage.model_dump(),
    "annotations": [annotation.model_dump() for annotation in message.annotations],
    "vocero": answer.vocero,
}

got["stream"] = {"text": "", "chunks": 0}
stream = client.chat.completions.create(
    model=agent, messages=question, stream=True, stream_options={"include_usage": True}
)
for chunk in stream:
    got["stream"]["chunks"] += 1
    if not chunk.choices:
        got["stream"]["usage"] = chunk.usage.model_dump()
        continue
    choice = chunk.choices[0]
    got["stream"]["text"] += choice.delta.content or ""
    if choice.finish_reason:
        got["stream"]["finish"] = choice.finish_reason
        got["stream"]["vocero"] = chunk.vocero

# The client asks for base64 by itself and decodes it.
embeddings = client.embeddings.create(model="embed-test", input=["abrimos", "de 9 a 18"])
got["embeddings"] = [embedding.embedding for embedding in embeddings.data]
floats = client.embeddings.create(model="embed-test", input="abrimos", encoding_format="float")
got["floats"] = floats.data[0].embedding

got["errors"] = {}
quick = client.with_options(max_retries=0)
for name, call in {
    "NotFoundError": lambda: quick.chat.completions.create(model="gpt-imaginary", messages=question),
    "BadRequestError": lambda: quick.chat.completions.create(model=agent, messages=question, n=2),
    "AuthenticationError": lambda: quick.with_options(api_key="sk-wrong").models.list(),
}.items():
    try:
        call()
    except openai.APIStatusError as error:
        got["errors"][name] = {
            "class": type(error).__name__, "code": error.code, "param": error.param, "request": error.request_id
        }

print(json.dumps(got))
