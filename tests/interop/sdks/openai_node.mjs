// OpenAI's Node SDK through one conversation: `node openai_node.mjs chat|responses|units`, told by the environment's
// STORY (JSON of tests/interop/sdk_programs.py). Prints one JSON object of what came back; judges nothing itself.
import OpenAI, { toFile } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const story = JSON.parse(process.env.STORY);
const client = new OpenAI({ baseURL: `${story.url}/oai/v1`, apiKey: story.key, maxRetries: 0 });
const Report = z.object({ warmest: z.string(), degrees: z.number().int() });
const described = { name: story.tool, description: story.description, parameters: story.parameters, strict: true };
const turns = [
  { role: "system", content: story.system },
  { role: "user", content: story.question },
];

function resultsOf(calls) {
  return calls.map(([id, name, text]) => [id, name === story.tool ? story.results[JSON.parse(text).city] : "unknown"]);
}

function toolMessages(calls) {
  const told = resultsOf(calls.map((call) => [call.id, call.function.name, call.function.arguments]));
  return told.map(([id, content]) => ({ role: "tool", tool_call_id: id, content }));
}

async function chat() {
  const asked = {
    model: story.model,
    tools: [{ type: "function", function: described }],
    ...(story.effort && { reasoning_effort: story.effort }),
  };
  const response_format = zodResponseFormat(Report, "report");
  const first = (await client.chat.completions.create({ ...asked, messages: turns })).choices[0].message;
  const then = [...turns, first, ...toolMessages(first.tool_calls)];
  const whole = await client.chat.completions.parse({ ...asked, messages: then, response_format });

  const opening = client.chat.completions.stream({ ...asked, messages: turns });
  // The SDK keeps only the last piece of a member that it does not know, so the pieces are gathered here.
  let thought = "";
  opening.on("chunk", (chunk) => (thought += chunk.choices[0]?.delta.reasoning_content ?? ""));
  const said = (await opening.finalChatCompletion()).choices[0].message;
  const next = [...turns, said, ...toolMessages(said.tool_calls)];
  const options = { stream_options: { include_usage: true } };
  const ending = client.chat.completions.stream({ ...asked, ...options, messages: next, response_format });
  let pieces = 0;
  ending.on("content", () => (pieces += 1));
  const streamed = await ending.finalChatCompletion();

  const runner = client.chat.completions.runTools({
    ...asked,
    messages: turns,
    tools: [{ type: "function", function: { ...described, parse: JSON.parse, function: weather } }],
  });
  return {
    reports: [whole.choices[0].message.parsed, streamed.choices[0].message.parsed],
    thought,
    usage: [streamed.usage.prompt_tokens, streamed.usage.completion_tokens],
    ran: await runner.finalContent(),
    pieces,
  };
}

function weather({ city }) {
  return story.results[city];
}

async function responses() {
  const asked = {
    model: story.model,
    instructions: story.system,
    tools: [{ type: "function", ...described }],
    ...(story.effort && { reasoning: { effort: story.effort, summary: "auto" } }),
  };
  const text = { format: zodTextFormat(Report, "report") };
  const input = [{ role: "user", content: story.question }];
  const byItems = { store: false, include: ["reasoning.encrypted_content"] };
  const first = await client.responses.create({ ...asked, ...byItems, input });
  const then = [...input, ...first.output, ...outputs(first)];
  const whole = await client.responses.parse({ ...asked, ...byItems, input: then, text });

  const opening = await client.responses.stream({ ...asked, input }).finalResponse();
  const previous = { previous_response_id: opening.id, input: outputs(opening) };
  const ending = client.responses.stream({ ...asked, ...previous, text });
  let pieces = 0;
  ending.on("response.output_text.delta", () => (pieces += 1));
  const streamed = await ending.finalResponse();
  const thoughts = first.output.filter((item) => item.type === "reasoning").flatMap((item) => item.summary);
  return {
    reports: [whole.output_parsed, streamed.output_parsed],
    thought: thoughts.map((part) => part.text).join(""),
    usage: [streamed.usage.input_tokens, streamed.usage.output_tokens],
    pieces,
  };
}

function outputs(response) {
  const calls = response.output.filter((item) => item.type === "function_call");
  const told = resultsOf(calls.map((call) => [call.call_id, call.name, call.arguments]));
  return told.map(([id, output]) => ({ type: "function_call_output", call_id: id, output }));
}

async function units() {
  const embedded = await client.embeddings.create({ model: story.models.embed, input: story.texts });
  const made = await client.images.generate({ model: story.models.image, prompt: "x", response_format: "b64_json" });
  const file = await toFile(Buffer.from(story.recording, "base64"), "greeting.wav");
  const heard = await client.audio.transcriptions.create({ model: story.models.hear, file, language: "de" });
  const spoken = await client.audio.speech.create({ model: story.models.speak, voice: "alloy", input: "Hello" });
  return {
    vectors: embedded.data.map((entry) => Array.from(entry.embedding)),
    picture: made.data[0].b64_json,
    heard: heard.text,
    spoken: Buffer.from(await spoken.arrayBuffer()).toString("base64"),
  };
}

console.log(JSON.stringify(await { chat, responses, units }[process.argv[2]]()));
