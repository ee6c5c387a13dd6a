/**
 * `sophia completion bash|zsh|fish`: a script for the user's shell, made from the command tree itself, so that it never
 * lags behind the grammar.
 */
import { Argument, type Command } from 'commander';

interface Words {
  /** The words before, such as "engine" or "". */
  readonly path: string;
  readonly words: readonly string[];
}

/** Every node of the tree with the words that may come next. */
export function completionTable(program: Command, path = ''): Words[] {
  const flags = program.options.map((option) => option.long).filter((flag) => flag !== undefined && flag !== null);
  const rows: Words[] = [{ path, words: [...program.commands.map((command) => command.name()), ...flags, '--help'] }];
  for (const command of program.commands) rows.push(...completionTable(command, `${path} ${command.name()}`.trim()));
  return rows;
}

function bash(rows: readonly Words[]): string {
  const cases = rows.map((row) => `    "${row.path}") words="${row.words.join(' ')}" ;;`).join('\n');
  return `_sophia() {
  local path="" word words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    [[ "$word" == -* ]] || path="\${path:+$path }$word"
  done
  case "$path" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _sophia sophia
`;
}

const zsh = (rows: readonly Words[]): string => `autoload -U +X bashcompinit && bashcompinit\n${bash(rows)}`;

function fish(rows: readonly Words[]): string {
  const lines = rows.map((row) => {
    const depth = row.path === '' ? 0 : row.path.split(' ').length;
    return `    case "${depth}:${row.path}"\n      printf '%s\\n' ${row.words.join(' ')}`;
  });
  return `function __sophia_words
  set -l path
  for word in (commandline -opc)[2..-1]
    string match -q -- '-*' $word; or set path $path $word
  end
  switch (count $path)":"(string join ' ' $path)
${lines.join('\n')}
  end
end
complete -c sophia -f -a '(__sophia_words)'
`;
}

const SHELLS = { bash, zsh, fish } as const;

export function addCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print a completion script; for bash: source <(sophia completion bash)')
    .addArgument(new Argument('<shell>').choices(Object.keys(SHELLS)))
    .action((shell: keyof typeof SHELLS) => {
      process.stdout.write(SHELLS[shell](completionTable(program)));
    });
}
