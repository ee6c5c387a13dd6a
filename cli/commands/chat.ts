/**
 * `sophia chat`: talk to a model from the terminal; with words after it one question, without a conversation.
 */
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import type { ChatClient, ChatMessage } from '../chat/chat_client.ts';
import { type Printer, printable } from '../output.ts';
import { printerOf, targetOf, withAdmin } from '../session.ts';

/** The newest turns that are sent again with each question. */
const KEPT_MESSAGES = 40;

async function firstModel(command: Command): Promise<string> {
  const models = (await withAdmin(command, (admin) => admin.call('ListModels', {})))?.models ?? [];
  const model = models.find((entry) => entry.readyEngines > 0);
  if (model === undefined)
    throw new CodedError('no_engine', 'No model is ready; give --model, or see `sophia engine list`.');
  return model.id;
}

async function askOnce(
  chat: ChatClient,
  model: string,
  messages: readonly ChatMessage[],
  print: Printer,
): Promise<string> {
  const onInterrupt = (): void => chat.cancel();
  process.once('SIGINT', onInterrupt);
  try {
    const answer = await chat.ask(model, messages, (text) => {
      if (!print.json) process.stdout.write(printable(text));
    });
    print.result({ model, text: answer.text, finishReason: answer.finishReason }, () => '');
    return answer.text;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}

async function converse(chat: ChatClient, model: string, history: ChatMessage[], print: Printer): Promise<void> {
  const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: `${model}> ` });
  lines.prompt();
  for await (const line of lines) {
    const question = line.trim();
    if (question === '/exit') break;
    if (question !== '') {
      history.push({ role: 'user', content: question });
      const text = await askOnce(chat, model, history.slice(-KEPT_MESSAGES), print);
      history.push({ role: 'assistant', content: text });
    }
    lines.prompt();
  }
  lines.close();
}

export function addChatCommand(program: Command): void {
  program
    .command('chat [words...]')
    .description('talk to a model; without words a conversation (Ctrl-C stops an answer, /exit ends)')
    .option('--model <id>', 'the model; default: the first that is ready')
    .option('--direct', 'ask the scheduler only where to go, and then the agent of the engine itself')
    .option('--system <text>', 'instructions before the conversation')
    .action(async (words: string[], flags: { model?: string; direct?: boolean; system?: string }, command: Command) => {
      const target = await targetOf(command);
      const print = printerOf(command);
      const model = flags.model ?? (await firstModel(command));
      const { openDirectChat } = await import('../chat/direct_client.ts');
      const { openChat } = await import('../chat/chat_client.ts');
      const chat = flags.direct === true ? openDirectChat(target) : await openChat(target.http, target.key);
      const history: ChatMessage[] = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }];
      try {
        if (words.length > 0)
          await askOnce(chat, model, [...history, { role: 'user', content: words.join(' ') }], print);
        else await converse(chat, model, history, print);
      } finally {
        chat.close();
      }
    });
}
