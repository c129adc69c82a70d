// Anthropic's Node SDK through one conversation, told by the environment's STORY (JSON of
// tests/interop/sdk_programs.py). Prints one JSON object of what came back; judges nothing itself.
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

const story = JSON.parse(process.env.STORY);
const client = new Anthropic({ baseURL: `${story.url}/anthropic`, apiKey: story.key, maxRetries: 0 });
const Report = z.object({ warmest: z.string(), degrees: z.number().int() });
const tools = [{ name: story.tool, description: story.description, input_schema: story.parameters }];
const messages = [{ role: "user", content: story.question }];
const asked = {
  model: story.model,
  max_tokens: 4096,
  system: story.system,
  tools,
  ...(story.effort && { thinking: { type: "enabled", budget_tokens: 1024 } }),
};
const output_config = { format: zodOutputFormat(Report) };

function answered(said) {
  const calls = said.content.filter((block) => block.type === "tool_use");
  const told = calls.map((call) => ({
    type: "tool_result",
    tool_use_id: call.id,
    content: story.results[call.input.city],
  }));
  return [...messages, { role: "assistant", content: said.content }, { role: "user", content: told }];
}

const first = await client.messages.create({ ...asked, messages });
const whole = await client.messages.parse({ ...asked, messages: answered(first), output_config });

const opening = await client.messages.stream({ ...asked, messages }).finalMessage();
const ending = client.messages.stream({ ...asked, messages: answered(opening), output_config });
let pieces = 0;
ending.on("text", () => (pieces += 1));
const streamed = await ending.finalMessage();

const ran = await client.beta.messages.toolRunner({
  model: story.model,
  max_tokens: 4096,
  messages,
  tools: [
    betaZodTool({
      name: story.tool,
      description: story.description,
      inputSchema: z.object({ city: z.string() }),
      run: ({ city }) => story.results[city],
    }),
  ],
});
const counted = await client.messages.countTokens({ model: story.model, tools, messages });
const thoughts = opening.content.filter((block) => block.type === "thinking");
const { usage } = streamed;
console.log(
  JSON.stringify({
    reports: [whole.parsed_output, JSON.parse(streamed.content.at(-1).text)],
    thought: thoughts.map((block) => block.thinking).join(""),
    usage: [
      usage.input_tokens + (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0),
      usage.output_tokens,
    ],
    ran: ran.content.at(-1).text,
    counted: counted.input_tokens,
    pieces,
  }),
);
