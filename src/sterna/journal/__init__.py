"""Remember what runs saw: so that they resume, failures can be repeated, and unchanged files are known cheaply.

A journal is one SQLite file for each route (the two locations of a run and their endpoints), below the state directory.
It keeps observations, never intentions that are believed: what is not in it is looked at again, and costs time only.

Whoever writes (the run, one at a time for each route):

    journal = Journal.open(route_between(source, target, ...), state_directory(option), command="sync")
    run = journal.begin(filters=fingerprint, options={...}, durable=True)
    async for page in journal.tree(): ...            the last-synced tree, in key order, a third sorted listing
    flight = run.depart(keys)                        these may be changed from now on
    run.done([Synced(key, source, target), ...])     proved: seen on both sides, and on disk where a side is one
    run.gone(keys)                                   proved to be on neither side any more
    run.record(outcomes)                             failed, refused, left, skipped; done and kept ones need no row
    run.land(flight)
    journal.upload_begun(...), part_sent(...), upload_ended(...)            uploads and server copies in parts
    journal.download_begun(...), range_written(...), download_ended(...)    downloads in ranges
    await journal.flushed()                          True: all of that is in the file, and on disk
    await journal.room()                             once for each range: bounds what waits in memory
    run.usual(facts); run.end(summary)
    await journal.closed()

``open`` blocks (call it in a thread) and raises Locked (exit code 7), WrongSetting (a state directory that somebody else
could write to), or JournalUnusable, after which a run may go on with ``Journal.without(sentence)``. ``journal.lost`` is a
sentence where an earlier journal of this route was damaged or is missing knowledge: then nothing may be deleted on the
journal's word. A journal that breaks in mid-run (``journal.trouble``) swallows what it is given, and ``flushed`` gives
False; reading it raises JournalUnusable. ``journal.news()`` gives each such sentence once, to be told.

Whoever reads: ``await journal.ask(question, ...)`` with a function of ``questions``, or, without the lock and beside a run,
``with reading(path) as connection: questions.runs(connection)`` for a path out of ``journals(state)``.
"""
