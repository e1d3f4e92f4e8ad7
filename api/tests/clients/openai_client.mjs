// What OpenAI's JavaScript client makes of a server: prints what it got as one JSON object.

import { createRequire } from 'node:module';

const { AGENT: agent, QUESTION, BASE_URL: baseURL, API_KEY: apiKey, CLIENTS } = process.env;
const require = createRequire(`${CLIENTS}/`);
const OpenAI = require('openai');

const client = new OpenAI({ baseURL, apiKey });
const messages = [{ role: 'user', content: QUESTION }];
const got = {};

got.models = [];
for await (const model of client.models.list()) got.models.push(model.id);
got.model = (await client.models.retrieve(agent)).owned_by;

const answer = await client.chat.completions.create({
  model: agent,
  messages: [{ role: 'developer', content: 'Be a pirate.' }, ...messages],
  user: 'user_456',
});
const { message, finish_reason: finish } = answer.choices[0];
got.answer = {
  text: message.content,
  role: message.role,
  finish,
  usage: answer.usage,
  annotations: message.annotations,
  vocero: answer.vocero,
};

// The client's own helper, which puts the chunks together and checks their order.
const stream = client.chat.completions.stream({ model: agent, messages, stream_options: { include_usage: true } });
got.stream = { text: '', chunks: 0 };
for await (const chunk of stream) {
  got.stream.chunks += 1;
  got.stream.text += chunk.choices[0]?.delta.content ?? '';
  if (chunk.vocero) got.stream.vocero = chunk.vocero;
}
const whole = await stream.finalChatCompletion();
got.stream.finish = whole.choices[0].finish_reason;
got.stream.whole = whole.choices[0].message.content;
got.stream.usage = whole.usage ?? (await stream.totalUsage());

const embeddings = await client.embeddings.create({ model: 'embed-test', input: ['abrimos', 'de 9 a 18'] });
got.embeddings = embeddings.data.map((embedding) => [...embedding.embedding]);
const floats = await client.embeddings.create({ model: 'embed-test', input: 'abrimos', encoding_format: 'float' });
got.floats = floats.data[0].embedding;

got.errors = {};
const quick = (options = {}) => new OpenAI({ baseURL, apiKey, maxRetries: 0, ...options });
const failing = {
  NotFoundError: () => quick().chat.completions.create({ model: 'gpt-imaginary', messages }),
  BadRequestError: () => quick().chat.completions.create({ model: agent, messages, n: 2 }),
  AuthenticationError: () => quick({ apiKey: 'sk-wrong' }).models.list(),
};
for (const [name, call] of Object.entries(failing)) {
  try {
    await call();
  } catch (error) {
    got.errors[name] = {
      class: error.constructor.name,
      code: error.code,
      param: error.param,
      request: error.requestID,
    };
  }
}

console.log(JSON.stringify(got));
