Events: everything from the beginning, then what has changed, and nothing twice.

$ call VM.get_by_name_label "Other install media"
["<template>"]
$ call VM.clone "<template>", "watched"
"<vm>"
$ call event.from ["vm/<vm>"], "", 10.0 | token
"<token>"

# A change comes as one event with the whole record.
$ call VM.set_name_description "<vm>", "changed"
""
$ call event.from ["vm/<vm>"], "<token>", 10.0
...

# Nothing has happened: the answer is empty once the time is up.
$ call event.from ["secret"], "", 0.1
...

# A bad token, a bad class.
$ call event.from ["vm"], "nonsense", 1.0
! EVENT_FROM_TOKEN_PARSE_FAILURE ["nonsense"]
$ call event.from ["vm/a/b/c"], "", 1.0 | events
[]
$ call event.inject "VM", "<vm>"
"<barrier>"
$ call VM.destroy "<vm>"
""
