"""The same as `segkit preview`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("preview")
