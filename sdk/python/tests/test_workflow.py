"""Text is text, and only references are references."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gleitzeit import Client, GleitzeitError, Workflow, ref

#: Each of them would be a reference in a file.
TEXTS = [
    "${inputs.secret}",
    "$${inputs.secret}",
    "$$${inputs.secret} and ${",
    "${HOME} $HOME $(id) $$ $5 $",
    "{{a.x}} {a} $ {a}",
    "${nowhere.at['all']}\n${",
]


def echoed(client: Client, value: Any, inputs: Any = None) -> Any:
    wf = Workflow("Text", inputs={"secret": "s", "n": 7, "rows": [{"first name": "Ada", "a'b\\c": 1}]})
    echo = wf.task("util/echo", value=value(wf) if callable(value) else value)
    wf.output("value", echo.value)
    return client.run(wf, inputs).outputs["value"]


def test_text_reaches_its_task_unchanged(client: Client) -> None:
    assert echoed(client, TEXTS) == TEXTS
    assert echoed(client, {"deep": [TEXTS[0], {"er": TEXTS[1]}]}) == {"deep": [TEXTS[0], {"er": TEXTS[1]}]}


def test_text_around_a_reference_stays_text(client: Client) -> None:
    for text in TEXTS:
        assert echoed(client, lambda wf: f"{text}{wf.input('n')}{text}") == f"{text}7{text}"
    assert echoed(client, lambda wf: f"${wf.input('n')} or $${wf.input('n')}") == "$7 or $$7"
    assert echoed(client, lambda wf: "costs " + wf.input("n") + " or %s" % wf.input("n")) == "costs 7 or 7"


def test_a_reference_survives_json_and_alone_it_keeps_its_type(client: Client) -> None:
    def as_json(wf: Workflow) -> str:
        return json.dumps({"n": f"{wf.input('n')}", "name": str(wf.input("rows")[0]["first name"]), "text": "${x}"})

    assert json.loads(echoed(client, as_json)) == {"n": "7", "name": "Ada", "text": "${x}"}
    assert echoed(client, lambda wf: [wf.input("n"), f"{wf.input('n')}"]) == [7, 7]


def test_any_key_can_be_referred_to_and_any_place_by_its_path(client: Client) -> None:
    assert echoed(client, lambda wf: wf.input("rows")[0]["a'b\\c"]) == 1
    assert echoed(client, lambda wf: f"<{wf.input('rows')[0]['first name']}>") == "<Ada>"
    assert echoed(client, [ref("inputs.n"), "n is " + ref("inputs.rows[0]['first name']")]) == [7, "n is Ada"]
    for wrong in ("", "${inputs.n}", "a}"):
        with pytest.raises(GleitzeitError, match="is not a reference"):
            ref(wrong)


def test_dollar_signs_of_a_program_are_kept(client: Client) -> None:
    wf = Workflow("Code", inputs={"who": "Ada"})
    wf.task("python/execute", id="p", code=f"result = '${{HOME}} ' + {wf.input('who')}")
    wf.task("shell/run", id="s", command=f'x=1; echo "${{x}}$x" {wf.input("who")}')
    run = client.run(wf)
    assert run["p"]["result"] == "${HOME} Ada" and run["s"]["output"].strip() == "11 Ada"


def test_a_reference_is_refused_where_none_is_allowed() -> None:
    wf = Workflow("W", inputs={"n": 1})
    n = wf.input("n")
    for wrong in (
        lambda: Workflow(f"{n}"),
        lambda: Workflow("W", inputs={"m": n}),
        lambda: Workflow("W", labels={"a": f"x{n}"}),
        lambda: wf.task("util/echo", queue=f"{n}"),
        lambda: wf.task(f"{n}"),
        lambda: wf.task("util/echo", value={f"{n}": 1}),
    ):
        with pytest.raises(GleitzeitError, match="cannot hold a reference"):
            wrong()


def test_a_reference_shows_its_target() -> None:
    wf = Workflow("W", inputs={"n": 1})
    assert repr(wf.task("util/echo", id="a", n=wf.input("n")).value[0]) == "<${a.value[0]}>"
    assert '"${inputs.n}"' in str(wf)
    with pytest.raises(TypeError, match="<\\$\\{inputs.n\\}> has no value yet"):
        iter(wf.input("n"))
