// The npm package `openai` in all the situations that come as JSON: `node drive.mjs URL`; prints what it saw as JSON.
// Each twice: by `create`, and by the helpers `.parse()` and `.stream()`.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const { completions } = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "k", maxRetries: 0 }).chat;
const { system, situations } = JSON.parse(readFileSync(0, "utf8"));

function readWhole(answer, seen) {
  const [choice] = answer.choices;
  seen.text = choice.message.content ?? "";
  seen.finish = choice.finish_reason;
}

async function readStream(chunks, seen) {
  for await (const chunk of chunks) {
    for (const choice of chunk.choices) {
      seen.text += choice.delta.content ?? "";
      seen.finish = choice.finish_reason ?? seen.finish;
    }
  }
}

async function create(request, streamed, seen) {
  if (streamed) await readStream(await completions.create({ ...request, stream: true }), seen);
  else readWhole(await completions.create(request), seen);
}

async function help(request, streamed, seen) {
  if (streamed) readWhole(await completions.stream(request).finalChatCompletion(), seen);
  else readWhole(await completions.parse(request), seen);
}

async function drive(ask) {
  const told = {};
  for (const [name, { asks, streamed }] of Object.entries(situations)) {
    const seen = (told[name] = { text: "", finish: null, status: null, code: null });
    const messages = [{ role: "system", content: system }, { role: "user", content: asks }];
    try {
      await ask({ model: "m", messages }, streamed, seen);
    } catch (error) {
      if (!(error instanceof OpenAI.OpenAIError)) throw error;
      seen.status = error.status ?? null;
      seen.code = error.code ?? error.constructor.name;
    }
  }
  return told;
}

console.log(JSON.stringify({ created: await drive(create), helped: await drive(help) }));
