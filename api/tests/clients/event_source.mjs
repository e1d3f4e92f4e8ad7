// What an EventSource client library makes of a resumable stream that is cut off: prints what it got as one JSON object.

import { createRequire } from 'node:module';

const { AGENT, QUESTION, BASE_URL, API_KEY, CLIENTS } = process.env;
const require = createRequire(`${CLIENTS}/`);
const { EventSource } = require('eventsource');

const authorization = `Bearer ${API_KEY}`;
const chat = `${BASE_URL}/agent/${AGENT}/chat`;
const asked = await fetch(chat, {
  method: 'POST',
  headers: { authorization, 'content-type': 'application/json' },
  body: JSON.stringify({ query: QUESTION, streaming: true, resumable: true }),
});
// Nobody reads it from here on.
await asked.body.cancel();

const got = { connections: [], ids: [], tokens: [] };

// Passes a response on up to the end of its first token; then the connection breaks.
const cutAfterToken = (body) => {
  const decoder = new TextDecoder();
  let seen = '';
  return body.pipeThrough(
    new TransformStream({
      transform(piece, controller) {
        seen += decoder.decode(piece, { stream: true });
        const token = seen.indexOf('event: token');
        const end = token < 0 ? -1 : seen.indexOf('\n\n', token);
        if (end < 0) return;
        controller.enqueue(new TextEncoder().encode(seen.slice(0, end + 2)));
        controller.terminate();
      },
    }),
  );
};

const source = new EventSource(`${chat}/${asked.headers.get('x-message-id')}/stream`, {
  fetch: async (url, init) => {
    const headers = { ...init.headers, authorization };
    const response = await fetch(url, { ...init, headers });
    got.connections.push(init.headers['Last-Event-ID'] ?? null);
    if (got.connections.length > 1) return response;
    const { status, headers: answered, redirected } = response;
    return { body: cutAfterToken(response.body), url, status, redirected, headers: answered };
  },
});

for (const kind of ['source', 'token', 'tool', 'done']) {
  source.addEventListener(kind, ({ data, lastEventId }) => {
    got.ids.push(lastEventId);
    if (got.connections.length === 1) got.cutAfter = lastEventId;
    if (kind === 'token') got.tokens.push(JSON.parse(data).text);
    if (kind === 'done') got.done = JSON.parse(data);
  });
}
source.addEventListener('error', ({ code }) => {
  // Without a code the connection ended and is made again.
  if (source.readyState !== EventSource.CLOSED) return;
  console.log(JSON.stringify({ ...got, status: code, closed: true }));
});
