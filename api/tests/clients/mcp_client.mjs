// What the MCP inspector's client library makes of a server: prints what it got as one JSON object.

import { createRequire } from 'node:module';

const { BASE_URL, API_KEY, QUESTION, DATASTORE, CLIENTS } = process.env;
const require = createRequire(`${CLIENTS}/`);
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');

const transport = new StreamableHTTPClientTransport(new URL(BASE_URL), {
  requestInit: { headers: { Authorization: `Bearer ${API_KEY}` } },
});
const client = new Client({ name: 'vocero-test', version: '1' });
await client.connect(transport);
const got = { server: client.getServerVersion(), instructions: client.getInstructions() };
await client.ping();
got.tools = (await client.listTools()).tools;
const call = (name, args = {}) => client.callTool({ name, arguments: args });
got.search = await call('search_datastore', { query: QUESTION, datastoreId: DATASTORE, topK: 3 });
got.ask = await call('ask_agent', { question: QUESTION });
const { conversationId } = got.ask.structuredContent;
got.again = await call('ask_agent', { question: QUESTION, conversationId });
got.agents = await call('list_agents');
got.datastores = await call('list_datastores');
got.wrong = await call('search_datastore', { query: '' });
try {
  await call('delete_everything');
} catch (error) {
  got.unknown = error.code;
}
await client.close();
console.log(JSON.stringify(got));
