"""Find placeholders in the text of user interfaces: what a program replaces by a value."""

import regex

# {name} {} {{ name }} ${name} {n, number}, %(name)s %s %1$s %-5d %Y, and %1. There
# is none in "$20", "100%", "20 % d", "a%20b" and "{two words}".
PLACEHOLDER = regex.compile(
    r"\$?\{\{?\s*(?:[^{}\s,]+(?:,\s*[^{}\s,]+)*)?\s*\}?\}|%\([^()\s]+\)[-#0-9.]*[a-z]"
    r"|(?<!\d)%(?:\d+\$)?(?:(?:ll|l|z|h)?[a-zA-Z]|(?<!://\S*)[-#0-9.*]+(?:ll|l|z|h)?[diouxXeEfFgGcsp@])(?!\p{Latin})"
    r"|(?<!://\S*)%[1-9](?![.,]?\d)"
)
NUMBERED = regex.compile(r"%[1-9]")


def without_placeholders(text: str) -> str:
    """Return the text with a space in the place of each placeholder."""
    return str(PLACEHOLDER.sub(" ", text)) if may_have_placeholders(text) else text


def may_have_placeholders(text: str) -> bool:
    """Return False for most texts without placeholders, quickly."""
    return "%" in text or "{" in text


def placeholders(text: str) -> list[str]:
    """Return the placeholders of a text, sorted. %5 counts only if the text has %1, too; in Turkish it means 5 %."""
    found = sorted(PLACEHOLDER.findall(text))
    return found if "%1" in found else [each for each in found if not NUMBERED.fullmatch(each)]
