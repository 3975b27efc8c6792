// OpenAI's own client for TypeScript and JavaScript against quire: node openai_client.mjs CLIENT URL KEY MODEL.
// Exits with 0 when all is as it should be.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [place, url, key, model] = process.argv.slice(2);
const OpenAI = createRequire(`${place}/`)("openai").default;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });

const names = [];
for await (const known of client.models.list()) names.push(known.id);
assert(names.includes(model) && names.includes("quire"), names);

// A whole answer, with usage and citations.
const question = { role: "user", content: "Who delivers the rebar?" };
const whole = await client.chat.completions.create({ model, messages: [question] });
const { message, finish_reason: reason } = whole.choices[0];
assert.deepEqual([whole.object, reason, message.role], ["chat.completion", "stop", "assistant"]);
assert(message.content.includes("Ironside"), message.content);
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
const citation = message.annotations[0].url_citation;
assert.equal(citation.title, "rebar.txt");
assert(citation.url.startsWith("/v1/sources/src_"), citation.url);
const characters = [...message.content];
assert.equal(characters.slice(citation.start_index, citation.end_index).join(""), "[1]");

// A follow-up, by the helper that gathers a stream, with usage at the end.
const messages = [
  question,
  { role: "assistant", content: message.content },
  { role: "user", content: "When do they come?" },
];
const options = { include_usage: true };
const stream = client.chat.completions.stream({ model, messages, stream_options: options });
const gathered = await stream.finalChatCompletion();
assert(gathered.choices[0].message.content.includes("Monday"), gathered.choices[0].message.content);
assert.equal(gathered.choices[0].finish_reason, "stop");
assert((await stream.totalUsage()).total_tokens > 0);

// Vectors, which the client asks for in base64 and decodes; the same numbers either way.
const decoded = await client.embeddings.create({ model: "quire", input: ["rebar", "steel bars"] });
const plain = await client.embeddings.create({ model: "quire", input: "rebar", encoding_format: "float" });
assert.deepEqual([decoded.data.length, decoded.data[0].embedding.length], [2, 384]);
const furthest = plain.data[0].embedding.map((value, at) => Math.abs(value - decoded.data[0].embedding[at]));
assert(Math.max(...furthest) < 1e-5);
assert(decoded.usage.total_tokens > 0);

// Errors are those that programs know.
const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "no", maxRetries: 0 });
const wrongs = [
  [OpenAI.NotFoundError, () => client.chat.completions.create({ model: "quire/none", messages: [question] })],
  [OpenAI.BadRequestError, () => client.chat.completions.create({ model, messages: [] })],
  [OpenAI.BadRequestError, () => client.embeddings.create({ model: "quire", input: "" })],
  [OpenAI.AuthenticationError, async () => void (await stranger.models.list())],
];
for (const [wrong, call] of wrongs) {
  const isAsKnown = (error) => error instanceof wrong && Boolean(error.error.message && error.error.type);
  await assert.rejects(call, isAsKnown);
}
