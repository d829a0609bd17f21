import type { Command } from "commander";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** What can follow a command: its own commands and options, by the words that lead to it. */
export interface CompletionNode {
  /** `account add`; empty for the program itself. */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly {
    readonly flags: readonly string[];
    readonly description: string;
    /** What its value is one of; empty: a file, or anything. */
    readonly choices: readonly string[];
    readonly takesValue: boolean;
  }[];
  /** What its arguments are one of. */
  readonly choices: readonly string[];
}

/** All commands that somebody types: what is hidden stays so. */
export function treeOf(program: Command): CompletionNode[] {
  const visit = (command: Command, path: string): CompletionNode[] => {
    const visible = command
      .createHelp()
      .visibleCommands(command)
      .filter((one) => one.name() !== "help");
    const node: CompletionNode = {
      path,
      commands: visible.map((one) => ({ name: one.name(), description: one.description() })),
      options: command
        .createHelp()
        .visibleOptions(command)
        .map((option) => ({
          flags: [option.long, option.short].flatMap((flag) => (flag == null ? [] : [flag])),
          description: option.description,
          choices: option.argChoices ?? [],
          takesValue: option.required || option.optional,
        })),
      choices: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
    };
    return [node, ...visible.flatMap((one) => visit(one, path === "" ? one.name() : `${path} ${one.name()}`))];
  };
  return visit(program, "");
}

/** The script that a shell loads. It asks nothing when a key is pressed: all words are in it. Pure. */
export function completionScript(shell: Shell, tree: readonly CompletionNode[]): string {
  if (shell === "fish") return fish(tree);
  const functions = bash(tree);
  // zsh runs bash's completions; its own form would say the same at twice the length.
  return shell === "bash" ? functions : `autoload -U +X bashcompinit && bashcompinit\n${functions}`;
}

function bash(tree: readonly CompletionNode[]): string {
  const words = tree.map(({ path, commands, options, choices }) => {
    const all = [...commands.map(({ name }) => name), ...choices, ...options.flatMap(({ flags }) => flags)];
    return `    ${quoted(path)}) words=${quoted(all.join(" "))} ;;`;
  });
  const values = tree.flatMap(({ path, options }) =>
    options
      .filter(({ takesValue }) => takesValue)
      .flatMap(({ flags, choices }) =>
        flags.map((flag) => `    ${quoted(`${path}:${flag}`)}) value=1; words=${quoted(choices.join(" "))} ;;`),
      ),
  );
  const paths = tree.filter(({ path }) => path !== "").map(({ path }) => quoted(path));
  return `# Completion of longshore; made by \`longshore completion\`.
_longshore() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path="" words="" value="" next at
  for ((at = 1; at < COMP_CWORD; at++)); do
    next="\${path:+$path }\${COMP_WORDS[at]}"
    case "$next" in
      ${paths.join("|")}) path="$next" ;;
    esac
  done
  case "$path:$previous" in
${values.join("\n")}
  esac
  if [ -z "$value" ]; then
    case "$path" in
${words.join("\n")}
    esac
  fi
  COMPREPLY=()
  while IFS= read -r next; do COMPREPLY+=("$next"); done < <(compgen -W "$words" -- "$current")
}
complete -o default -F _longshore longshore
`;
}

function fish(tree: readonly CompletionNode[]): string {
  const lines = tree.flatMap(({ path, commands, options, choices }) => {
    const condition = `-n ${quoted(`__longshore_at ${quoted(path)}`)}`;
    return [
      ...commands.map(({ name, description }) => `-f ${condition} -a ${name} -d ${quoted(description)}`),
      ...(choices.length === 0 ? [] : [`-f ${condition} -a ${quoted(choices.join(" "))}`]),
      ...options.map(({ flags, description, choices: values, takesValue }) => {
        const named = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
        const value = !takesValue ? "" : values.length === 0 ? " -r" : ` -x -a ${quoted(values.join(" "))}`;
        return `${condition} ${named.join(" ")}${value} -d ${quoted(description)}`;
      }),
    ];
  });
  const paths = tree.filter(({ path }) => path !== "").map(({ path }) => quoted(path));
  return `# Completion of longshore; made by \`longshore completion\`.
function __longshore_at
  set -l path ""
  for word in (commandline -opc)[2..]
    set -l next (string trim -- "$path $word")
    if contains -- $next ${paths.join(" ")}
      set path $next
    end
  end
  test "$path" = "$argv[1]"
end
${lines.map((line) => `complete -c longshore ${line}`).join("\n")}
`;
}

/** For all three shells: nothing in single quotes is special but the quote itself. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
