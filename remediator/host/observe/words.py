"""Command lines: how systemd splits and expands them, and how Go programs read their flags."""

from remediator.host.common.patterns import pattern

VARIABLE = pattern(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def split_words(text: "str") -> "list[str]":
    """The words of a systemd setting: blanks separate, quotes and backslashes hold together (systemd.syntax(7))."""
    words: "list[str]" = []
    word: "list[str]" = []
    open_word, quote = False, ""
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "\\" and quote != "'" and position < len(text):
            word.append(text[position])
            position += 1
            open_word = True
        elif quote:
            if character == quote:
                quote = ""
            else:
                word.append(character)
        elif character in "\"'":
            quote, open_word = character, True
        elif character in " \t\n":
            if open_word:
                words.append("".join(word))
            word, open_word = [], False
        else:
            word.append(character)
            open_word = True
    return words + (["".join(word)] if open_word else [])


def parse_assignments(words: "list[str]") -> "dict[str, str]":
    """NAME=value words as a dictionary, the last one of a name standing."""
    pairs = [word.partition("=") for word in words if "=" in word]
    return {name: value for name, _, value in pairs}


def parse_environment_file(content: "str") -> "dict[str, str]":
    """The variables of an EnvironmentFile= (systemd.exec(5)): one assignment a line, quotes, comments."""
    variables = {}
    for text in content.replace("\\\n", " ").split("\n"):
        line = text.strip()
        if not line or line[0] in "#;":
            continue
        name, joined, value = line.partition("=")
        name = name.strip()
        if name.startswith("export "):
            name = name[7:].strip()
        if joined and name:
            value = value.strip()
            quoted = len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]
            variables[name] = value[1:-1] if quoted else value
    return variables


def expand_words(words: "list[str]", variables: "dict[str, str]") -> "list[str]":
    """A command line with its variables: a word `$NAME` becomes several words, `${NAME}` within a word stays one."""
    expanded: "list[str]" = []
    for word in words:
        alone = VARIABLE.match(word)
        if alone is not None and alone.end() == len(word) and alone.group(2):
            expanded += split_words(variables.get(alone.group(2), ""))
        else:
            expanded.append(
                VARIABLE.sub(lambda match: variables.get(match.group(1), "") if match.group(1) else match.group(), word)
            )
    return expanded


def flag_values(words: "list[str]", name: "str", short: "str" = "") -> "list[str]":
    """Every value that the option `name` has on a command line, in order (Go's flag packages: the last one counts).

    `--name=value`, `--name value`, `-name value` (flag, cli) and, with `short`, `-X value` and `-Xvalue`. A switch
    without a value gives `true`.
    """
    values = []
    for position, word in enumerate(words):
        if not word.startswith("-"):
            continue
        following = words[position + 1] if position + 1 < len(words) else "-"
        option, joined, value = word.lstrip("-").partition("=")
        if option.replace("_", "-") == name and len(name) > 1:
            values.append(value if joined else following if not following.startswith("-") else "true")
        elif short and word.startswith("-" + short) and not word.startswith("--"):
            rest = word[2:]
            values.append(rest.lstrip("=") if rest else following)
    return values


def flag(words: "list[str]", name: "str", short: "str" = "") -> "str | None":
    """The value of an option that stands on a command line once or more: the last one; None where it does not."""
    values = flag_values(words, name, short)
    return values[-1] if values else None


def is_on(value: "str | None") -> "bool":
    """Whether a switch's value turns it on, as Go's strconv.ParseBool reads it."""
    return value in ("1", "t", "T", "true", "TRUE", "True")
