"""`hcctl completion`: the script that completes verbs and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash: add to ~/.bashrc    eval "$(hcctl completion bash)"
    zsh:  add to ~/.zshrc     eval "$(hcctl completion zsh)"
    fish: hcctl completion fish > ~/.config/fish/completions/hcctl.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(f"click has no completion for {shell}")
    root = context.find_root().command
    click.echo(kind(root, {}, "hcctl", "_HCCTL_COMPLETE").source())
