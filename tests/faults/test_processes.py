"""Eight processes insert, apply and read at once; each sees whole rows, and nothing gets lost between them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.conftest import Open

CODE = """
    import sys
    from superduper import DataType, Listener, ObjectModel, Table, superduper
    uri, store, who = sys.argv[1:]
    with superduper(uri, artifact_store=store) as db:
        print('ready', flush=True)
        sys.stdin.readline()
        mine = int(who)
        # All of them make the same table and the same listener.
        db.apply(Table('t', fields={'x': DataType('any', codec='pickle'), 'n': 'int', 'who': 'int'}))
        db.apply(Listener(ObjectModel('plus', object=lambda n: n + 1, datatype='int'), key='n', select=db['t']))
        for step in range(8):
            if mine % 2 == 0:
                ids, jobs = db['t'].insert_many(
                    [{'id': f'{who}-{step}-{n}', 'x': [who, step, n], 'n': n, 'who': mine} for n in range(25)]
                ).execute()
                assert len(ids) == 25 and all(job.phase == 'Succeeded' for job in jobs), jobs
                db['t'].update_one({'id': f'{who}-{step}-0'}, {'$set': {'n': 1000 + step}}).execute()
            elif mine % 4 == 1:
                db.apply(ObjectModel('shared', object=lambda x, who=who, step=step: (who, step)))
                db.apply(Table(f'own{who}', fields={'x': 'int', f'f{step}': 'str'}))
            for row in db['t'].find({'who': {'$gte': 0}}).execute():
                who_, step_, n = row['id'].split('-')
                assert row['x'] == [who_, int(step_), int(n)], row
    print('done')
"""


@pytest.mark.timeout(200)
def test_eight_processes_insert_apply_and_read_at_once(
    shared_uri: str, store_uri: str, start: Any, connect: Open
) -> None:
    processes = [start(CODE, shared_uri, store_uri, str(who)) for who in range(8)]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=150)
        assert (process.returncode, out) == (0, "done\n"), err
    db = connect(shared_uri)
    assert db.show("table", "t") == [0]
    assert db.show("model", "plus") == [0]
    assert db.show("listener", "plus") == [0]
    assert db.show("model", "shared") == list(range(16)), "two processes of eight versions each, none shared"
    assert {db.load("model", "shared", version).predict(0) for version in range(16)} == {
        (who, step) for who in "15" for step in range(8)
    }
    assert db["t"].count_documents().execute() == 4 * 8 * 25
    db.run("plus")
    for row in db["t"].outputs("plus").execute():
        assert row["_outputs"] == {"plus": row["n"] + 1}
    changed = db["t"].count_documents({"n": {"$gte": 1000}}).execute()
    assert changed == 4 * 8
    db.gc(window=0)
    assert db.gc(window=0, dry_run=True).removed == 0
    assert db.verify() == []
