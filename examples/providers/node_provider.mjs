// A provider in JavaScript. npm install socket.io-client, then: node examples/providers/node_provider.mjs
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { io } from "socket.io-client";

const parameters = { type: "object", additionalProperties: false, required: ["title", "values"], properties: {
  title: { type: "string" }, values: { type: "object", additionalProperties: { type: "number" } },
  digits: { type: "integer", default: 2 }, file: { type: "string" }, pause: { type: "number", default: 0 } } };
const returns = { type: "object", additionalProperties: false, required: ["text"], properties: { text: { type: "string" } } };
const protocol = { name: "report", version: "v1", methods: { "report/render": { parameters, returns } } };
const me = { component_type: "provider", component_id: randomUUID(), secret: randomUUID(), name: "report", protocols: [protocol] };
const calls = new Map(); // for each open call, what is aborted when it is cancelled
const hub = io(process.env.GLEITZEIT_HUB_URL ?? "http://localhost:8000",
  { transports: ["websocket"], auth: { token: process.env.GLEITZEIT_TOKEN ?? "" } });

async function render(id, signal, { title, values, digits, file, pause }) {
  const lines = [title];
  for (const [name, value] of Object.entries(values)) {
    lines.push(`- ${name}: ${value.toFixed(digits)}`);
    hub.volatile.emit("method_progress", { id, data: { text: `${lines.at(-1)}\n` } }); // lost if the hub is away
    await sleep(1000 * pause, null, { signal });
  }
  if (file) await writeFile(file, lines.join("\n"));
  return { text: lines.join("\n") };
}

hub.on("welcome", () => hub.emit("register_component", { ...me, max_concurrency: 8, calls: [...calls.keys()] }));
hub.on("cancel_method", ({ id }) => calls.get(id)?.abort());
for (const event of ["component_registered", "registration_rejected", "mesh_error"])
  hub.on(event, (body) => console.log(event, JSON.stringify(body)));
hub.on("execute_method", async ({ id, params }) => {
  const { signal } = calls.set(id, new AbortController()).get(id);
  const answer = await render(id, signal, params).then((result) => ({ result }), // a full disk may be empty next time
    ({ code, message }) => ({ error: { code: -29002, message, data: { retryable: code?.startsWith("E") ?? false } } }));
  calls.delete(id);
  if (signal.aborted) console.log("cancelled:", id); // nobody waits for an answer
  else hub.emit("method_result", { jsonrpc: "2.0", id, ...answer }); // kept while the hub is away
});
