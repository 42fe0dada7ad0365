"""Asks for every row of a table of answers, with curl: odd_client.py CORPUS LEG

CORPUS is in the format of tests/corpus/answers.txt, LEG is `h1`, `h2`, or
`bare`: what the server speaks. Prints "NAME SEEN" for each row, SEEN as the
table spells it; the row's answer is asked for as often as its name says, and all that was seen differently has " / " between.
"""

import http.client
import itertools
import pathlib
import re
import subprocess
import sys
import tempfile

# Of framing nothing is said but where there is no body to be framed.
FRAMING = {"connection", "keep-alive", "transfer-encoding", "content-length"}
# curl's words for a transfer that broke off: 16, 92 in HTTP/2, 18 too short, 56 by the connection.
BROKEN = {16, 18, 56, 92}
BODY = "x" * 100_000


def rows(path):
    for line in open(path, encoding="ascii"):
        if line.strip() and not line.startswith("#"):
            name, *_, text = line.rstrip("\n").split("|", 4)
            name, _, times = name.strip().partition("*")
            method = re.search(r"\\\{(HEAD|POST)\}", text)
            yield name, int(times or 1), method[1] if method else "GET", text


def url(name, leg):
    if name.startswith("h2-"):
        return f"https://{name}.odd.test:8444/"
    if leg == "h2" or name.startswith("tls-"):
        return f"https://all.odd.test:8443/{name}"
    return f"http://all.odd.test:8009/{name}"


def by_http2(name, leg):
    return leg == "h2" or (leg == "bare" and name.startswith("h2-"))


def transfer(name, method, leg, place, tag):
    """The lines of curl's configuration for one row."""
    version = "http2" if by_http2(name, leg) else "http1.1"
    lines = [f'url = "{url(name, leg)}"', version, "silent", "max-time = 20", f'output = "{place}.body"',
             f'dump-header = "{place}.head"', f'write-out = "{tag} %{{exitcode}}\\n"']
    if method == "HEAD":
        lines += ["head"]
    if method == "POST":
        lines += [f'data = "@{place.parent}/upload"', 'header = "Expect:"']
    return "\n".join(lines)


def seen(place, code, http2, method, text):
    """What curl was told, in the table's words."""
    # curl forgets what it has not handed out when a stream is reset: only what came long before is told for certain.
    certain = not http2 or code == 0 or "pause" in text
    blocks = [block.decode("latin-1") for block in re.split(rb"\r?\n\r?\n", read(place, "head")) if block.strip()]
    heads = [block for block in blocks if block.startswith("HTTP/")]
    trailers = [line for block in blocks if not block.startswith("HTTP/") for line in block.splitlines()]
    body = b"" if method == "HEAD" else read(place, "body")
    statuses = [head.split(" ", 1)[1][:3].strip() for head in heads]
    last = heads[-1] if heads else ""
    # Many in a row are told once.
    runs = [(status, len(list(run))) for status, run in itertools.groupby(statuses)]
    words = [status if count == 1 else f"{status}*{count}" for status, count in runs] or ["nothing"]
    if "\nx-httpjail:" in last.lower():
        return " ".join([*words, "own"]) + told(code)
    reason = re.match(r"HTTP/1\.\d+ (\d+) ?([^\r\n]*)", last)
    if reason and reason[2] != http.client.responses.get(int(reason[1])):
        words.append(f"({brief(reason[2])})")
    shown = []
    for line in last.splitlines()[1:]:
        name, _, value = line.partition(":")
        bodiless = certain and (method == "HEAD" or not body)
        if name.lower() not in FRAMING or (name.lower() == "content-length" and bodiless):
            shown.append(f"{brief(name.strip().lower())}={brief(value.strip())}")
    shown = [field if shown.count(field) == 1 else f"{field}*{shown.count(field)}" for field in dict.fromkeys(shown)]
    words += shown
    if body and certain:
        words.append(f'"{brief(body.decode("latin-1"))}"')
    words += [f"trailer:{line.lower()}" for line in trailers]
    return " ".join(words) + told(code)


def told(code):
    return "" if code == 0 else " broken" if code in BROKEN else f" curl:{code}"


def brief(text):
    text = text if len(text) <= 40 else f"{len(text)} bytes"
    return text.encode("latin-1").decode("latin-1").encode("unicode_escape").decode().replace("|", "\\x7c")


def read(place, kind):
    file = pathlib.Path(f"{place}.{kind}")
    return file.read_bytes() if file.exists() else b""


def ask(folder, transfers):
    """All of them with one curl, or with as many as it takes: some errors end it. The exit code of each."""
    codes = {}
    while len(codes) < len(transfers):
        (folder / "config").write_text("\nnext\n".join(transfers[len(codes) :]))
        done = subprocess.run(["curl", "-q", "-K", folder / "config"], capture_output=True, text=True)
        told = dict(map(int, line.split()) for line in done.stdout.splitlines())
        codes.update(told or {len(codes): done.returncode})
    return codes


def main():
    corpus, leg = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "upload").write_text(BODY)
        transfers, places = [], []
        for name, times, method, text in rows(corpus):
            for nth in range(times):
                place = folder / f"{name}.{nth}"
                transfers.append(transfer(name, method, leg, place, len(places)))
                places.append((name, method, text, place))
        codes = ask(folder, transfers)
        found = {}
        for tag, (name, method, text, place) in enumerate(places):
            found.setdefault(name, []).append(seen(place, codes[tag], by_http2(name, leg), method, text))
        for name, all_seen in found.items():
            print(name, " / ".join(sorted(set(all_seen))))


main()
