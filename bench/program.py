"""The program's answer to a command, for the measurements in this folder."""
import json
import subprocess
import sys


def run(lathe, *arguments):
    done = subprocess.run([lathe, *arguments, "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"lathe {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)
