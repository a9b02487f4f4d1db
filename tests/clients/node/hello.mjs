// Submits a workflow twice under one request id, follows its run to the end, and shows what refusals look like:
// `hello.mjs ADDRESS FILE`, with the token in GLEITZEIT_TOKEN.
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

// ---------------------------------------------------------------------------------------------------------------------
const DEADLINE_MS = 10_000; // for one call
const ATTEMPTS = 6; // of one request, each with the same request id
const PAUSE_MS = 500; // between them, unless the server says how long

const options = { longs: Number, enums: String, defaults: true };
const { gleitzeit } = grpc.loadPackageDefinition(
  loader.loadSync('gleitzeit/v1/workflow_service.proto', { ...options, includeDirs: ['proto'] }),
);

// What is read here of google/rpc/status.proto and google/rpc/error_details.proto.
const text = (id) => ({ type: 'string', id });
const messages = {
  Status: { fields: { details: { rule: 'repeated', type: 'Detail', id: 3 } } },
  Detail: { fields: { typeUrl: text(1), value: { type: 'bytes', id: 2 } } },
  ErrorInfo: { fields: { reason: text(1) } },
  BadRequest: { fields: { fieldViolations: { rule: 'repeated', type: 'Violation', id: 1 } } },
  Violation: { fields: { field: text(1), description: text(2), reason: text(3) } },
  RetryInfo: { fields: { retryDelay: { type: 'Delay', id: 1 } } },
  Delay: { fields: { seconds: { type: 'int64', id: 1 }, nanos: { type: 'int32', id: 2 } } },
};
const rpc = grpc.loadPackageDefinition(loader.fromJSON({ nested: messages }, options));

// A client that notices within half a minute when nobody is there any more.
function connect(address) {
  // Behind a proxy that ends TLS: grpc.credentials.createSsl().
  return new gleitzeit.v1.WorkflowService(address, grpc.credentials.createInsecure(), {
    'grpc.keepalive_time_ms': 20_000,
    'grpc.keepalive_timeout_ms': 10_000,
  });
}

// What goes with each call that shows this token.
function authorized(token) {
  const metadata = new grpc.Metadata({ waitForReady: true });
  metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}

// May be called again with the same request id: there will be one run.
async function submit(client, metadata, request) {
  for (let attempt = 1; ; attempt++) {
    try {
      const until = { deadline: Date.now() + DEADLINE_MS };
      return await new Promise((resolve, reject) => {
        client.submitWorkflow(request, metadata, until, (error, answer) => (error ? reject(error) : resolve(answer)));
      });
    } catch (error) {
      const refused = read(error);
      if (attempt === ATTEMPTS || !refused.passes) throw error;
      await setTimeout(refused.afterMs);
    }
  }
}

// Hands over every event of a run, each once and in order, and returns the run at its end. Where the stream breaks it
// goes on behind the last event that came. `deadline` is until when you want to follow the run.
async function watch(client, metadata, runId, deadline, seen) {
  for (let next = 1, ended, pauseMs; ; await setTimeout(pauseMs)) {
    pauseMs = PAUSE_MS;
    try {
      for await (const message of client.watchRun({ runId, fromSeq: next }, metadata, { deadline })) {
        for (const event of message.events) {
          seen(event);
          next = event.seq + 1;
        }
        ended = message.run ?? ended;
      }
    } catch (error) {
      const refused = read(error);
      if (!ended && (Date.now() >= deadline || !refused.passes)) throw error;
      pauseMs = refused.afterMs;
    }
    if (ended) return ended;
  }
}

// What an error says to programs: its gRPC code; `reason`, a name of docs/ERRORS.md, empty if the control plane did not
// answer; what is wrong with the workflow or request; whether the same request may succeed later, and when.
function read(error) {
  const refused = { code: error.code, reason: '', problems: [], afterMs: PAUSE_MS };
  const { UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL, UNKNOWN, CANCELLED } = grpc.status;
  refused.passes = [UNAVAILABLE, DEADLINE_EXCEEDED].includes(error.code);
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const details = bytes ? rpc.Status.deserialize(bytes).details : [];
  for (const detail of details) {
    const type = detail.typeUrl.split('/').pop();
    if (type === 'google.rpc.ErrorInfo') {
      refused.reason = rpc.ErrorInfo.deserialize(detail.value).reason;
    } else if (type === 'google.rpc.BadRequest') {
      refused.problems = rpc.BadRequest.deserialize(detail.value).fieldViolations;
    } else if (type === 'google.rpc.RetryInfo') {
      const { seconds, nanos } = rpc.RetryInfo.deserialize(detail.value).retryDelay ?? { seconds: 0, nanos: 0 };
      refused.passes = true; // the server has too much to do now
      refused.afterMs = seconds * 1_000 + nanos / 1_000_000;
    }
  }
  // Broken on the way: what the control plane answers has a reason.
  if (!refused.reason && [INTERNAL, UNKNOWN, CANCELLED].includes(error.code)) refused.passes = true;
  return refused;
}
// ---------------------------------------------------------------------------------------------------------------------

const WRONG = 'name: Wrong\ntasks:\n  - id: a\n    methd: util/echo\n  - {id: b, method: util/ecko}\n';

async function run(client, file) {
  const owner = authorized(process.env.GLEITZEIT_TOKEN ?? '');
  const request = { requestId: randomUUID(), yaml: await readFile(file, 'utf8') };
  const first = await submit(client, owner, request);
  const again = await submit(client, owner, request);
  console.log('submitted', first.runId);
  console.log('again', again.runId, again.duplicate);

  const ended = await watch(client, owner, first.runId, Date.now() + 600_000, (event) => {
    console.log('event', event.seq, event.type, event.taskId);
  });
  console.log('ended', ended.status, ended.outputsJson);

  try {
    await submit(client, owner, { yaml: WRONG });
  } catch (error) {
    const refused = read(error);
    console.log('refused', refused.reason);
    for (const problem of refused.problems) {
      console.log('problem', problem.field, problem.reason, problem.description);
    }
  }
  try {
    await submit(client, authorized('wrong'), request);
  } catch (error) {
    const refused = read(error);
    console.log('stranger', grpc.status[refused.code], refused.reason);
  }
}

const [address, file] = process.argv.slice(2);
if (!address || !file) {
  console.error('usage: hello.mjs ADDRESS FILE, with the token in GLEITZEIT_TOKEN');
  process.exit(2);
}
const client = connect(address);
try {
  await run(client, file);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  client.close();
}
