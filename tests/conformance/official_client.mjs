// Runs jobs with the official JavaScript client. Reads one JSON object from standard input, and writes what
// became of each job to standard output.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { folder, client, jobs, atOnce } = JSON.parse(readFileSync(0, "utf8"));
const { createProdia } = createRequire(`${folder}/`)("prodia/v2");
const prodia = createProdia(client);

const forms = {
  bytes: ({ content }) => Uint8Array.from(content),
  buffer: ({ content }) => Uint8Array.from(content).buffer,
  blob: ({ content, type }) => new Blob([content], { type }),
  file: ({ content, name, type }) => new File([content], name, { type }),
};

function input(given) {
  return forms[given.form]({ ...given, content: Buffer.from(given.content, "base64") });
}

async function output(value) {
  if (typeof value === "string") return { text: true }; // a part without a file name is a text to fetch
  const content = Buffer.from(await value.arrayBuffer());
  const sha256 = createHash("sha256").update(content).digest("hex");
  return { name: value.name, type: value.type, size: content.length, sha256 };
}

async function run({ params, inputs, accept }) {
  try {
    const done = await prodia.job(params, { inputs: inputs?.map(input), accept });
    const outputs = (await done.formData()).getAll("output");
    return { job: done.job, outputs: await Promise.all(outputs.map(output)) };
  } catch (error) {
    return { error: error.constructor.name, message: error.message };
  }
}

const results = [];
let next = 0;

async function work() {
  while (next < jobs.length) {
    const index = next++;
    results[index] = await run(jobs[index]);
  }
}

await Promise.all(Array.from({ length: atOnce }, work));
process.stdout.write(JSON.stringify(results));
