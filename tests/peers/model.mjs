// A scripted model for the tests: aimock behind a launcher that adds scripts, delays and a count of begun calls.
//
//   node model.mjs HOST PORT        prints one line of JSON, {"port": …}, once it listens
//
//   PUT /scripts/<model>            {"replies": [reply, …], "delayMs": 0}; a reply is an aimock response, or
//                                   {"sum": true}: "The sum is N." over all numbers in the tool results so far
//                                   {"callsUpTo": m, "tool": …, "limit": tokens} in place of replies: a call of the tool with
//                                   {"n": 1}, 2, … as the conversation shows how far it got, a summary of it where no tools
//                                   are offered, at m the answer; what is longer than the limit is refused as too long
//                                   "faults": {"<n>": fault, …} in place of what is scripted, for the n-th call from 0:
//                                   {"response": …} and options of an aimock fixture (chaos, latency, truncateAfterChunks)
//                                   "holdAfter": n: calls behind the n-th wait, the delay yet to come, until they are let go
//   POST /scripts/<model>           {"delayMs": ms, "holdAfter": n}: from now on; without n lets go whatever waits under that name
//   GET /scripts/<model>            {"arrivals": [ms, …]}: when each call arrived, Unix time in ms, those included
//                                   whose caller died meanwhile
//   GET /__aimock/journal           aimock's own record of every call, the witness the tests count by
//
// Which reply a request gets depends on the conversation alone (how many assistant messages it holds), so a repeated
// call gets the same reply. The delay sits in aimock's response factory: a call whose caller is gone when the delay
// ends is still journalled, which aimock's own latency setting would not do.

import { LLMock } from "@copilotkit/aimock";

const [host, port] = [process.argv[2] ?? "127.0.0.1", Number(process.argv[3] ?? 0)];
const scripts = new Map();
const waiting = []; // {model, script, number, go}: calls that are held

const numbersOf = (text) => (text.match(/-?\d+/g) ?? []).map(Number);

function sumOfToolResults(messages) {
  const results = messages.filter((message) => message.role === "tool").map((message) => String(message.content));
  return results.flatMap(numbersOf).reduce((total, number) => total + number, 0);
}

// Requests are counted where fixtures are matched: a call that a fault ends never gets to its reply.
function numberOf(request) {
  const script = scripts.get(request.model);
  if (!script.numbers.has(request)) script.numbers.set(request, script.calls++);
  return script.numbers.get(request);
}

function addFaults(model, script) {
  for (const [number, { response, ...options }] of Object.entries(script.faults)) {
    const predicate = (request) =>
      request.model === model && scripts.get(model) === script && numberOf(request) === Number(number);
    mock.prependFixture({ match: { predicate }, response: response ?? reply, ...options });
  }
}

// A model without memory: how far the work got it sees in its own calls, or in the summary it once made of them.
function counted(request, { callsUpTo, tool, limit }) {
  const size = Math.ceil(JSON.stringify(request).length / 4);
  if (size > limit) {
    const error = { message: "The request is longer than the context of the model.", type: "invalid_request_error", code: "context_length_exceeded" };
    return { error, status: 400 };
  }
  const usage = { prompt_tokens: size, completion_tokens: 10, total_tokens: size + 10 };
  const said = request.messages.flatMap((message) => [String(message.content ?? ""), ...(message.tool_calls ?? []).map((call) => call.function.arguments)]);
  const done = said.flatMap((text) => [...text.matchAll(/(?:"n": ?|up to )(\d+)/g)].map((match) => Number(match[1])));
  const newest = done.reduce((most, number) => Math.max(most, number), 0);
  if (!request.tools?.length) return { content: `Counted up to ${newest}.`, usage };
  if (newest === callsUpTo) return { content: `It is ${newest}.`, usage };
  return { toolCalls: [{ id: `call_${newest + 1}`, name: tool, arguments: { n: newest + 1 } }], usage };
}

async function reply(request) {
  const script = scripts.get(request.model);
  const turn = request.messages.filter((message) => message.role === "assistant").length;
  const number = script.arrivals.push(Date.now());
  if (number > script.holdAfter) await new Promise((go) => waiting.push({ model: request.model, script, number, go }));
  if (script.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, script.delayMs));
  if (script.callsUpTo) return counted(request, script);
  const scripted = script.replies[turn];
  if (scripted === undefined) return { error: { message: `script ends before turn ${turn}`, type: "invalid_request_error" }, status: 400 };
  if (!scripted.sum) return scripted;
  return { content: `The sum is ${sumOfToolResults(request.messages)}.`, usage: scripted.usage };
}

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString("utf8"));
}

const scriptControl = {
  async handleRequest(request, response, pathname) {
    const name = decodeURIComponent(pathname.replace(/^\//, ""));
    if (request.method === "PUT") {
      const fresh = { arrivals: [], calls: 0, numbers: new WeakMap(), delayMs: 0, holdAfter: Infinity, faults: {}, ...(await bodyOf(request)) };
      scripts.set(name, fresh);
      addFaults(name, fresh);
    }
    const script = scripts.get(name);
    if (request.method === "POST") {
      Object.assign(script, { holdAfter: Infinity }, await bodyOf(request));
      for (const held of waiting) if (held.model === name && (held.script !== script || held.number <= script.holdAfter)) held.go();
    }
    response.writeHead(script ? 200 : 404, { "Content-Type": "application/json" });
    response.end(JSON.stringify(script ? { arrivals: script.arrivals } : { error: `no script ${name}` }));
    return true;
  },
};

const mock = new LLMock({ host, port, journalMaxEntries: 0, logLevel: "warn" });
mock.mount("/scripts", scriptControl);
mock.addFixture({ match: { predicate: (request) => scripts.has(request.model) }, response: reply });
await mock.start();
console.log(JSON.stringify({ port: mock.port }));

// The launcher ends with whoever started it: a closed standard input is the sign, and leaves no orphan after a crash.
process.stdin.resume();
process.stdin.on("end", async () => {
  await mock.stop();
  process.exit(0);
});
