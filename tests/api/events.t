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
$ call event.from ["vm/<vm>"], "<token>", 10.0 | events
[{"class": "vm", "id": "<id>", "operation": "mod", "ref": "<vm>", "snapshot": {..."name_description": "changed"...}, "timestamp": "0.0"}]

# A destroyed object is a deletion, with no record.
$ call VM.clone "<template>", "short-lived"
"<short>"
$ call event.from ["vm/<short>"], "", 10.0 | token
"<token-two>"
$ call VM.destroy "<short>"
""
$ call event.from ["vm/<short>"], "<token-two>", 10.0 | events
[{"class": "vm", "id": "<id-two>", "operation": "del", "ref": "<short>", "timestamp": "0.0"}]

# Nothing has happened: the answer is empty once the time is up.
$ call event.from ["vm/<short>"], "", 0.1 | events
[]

# A bad token.
$ call event.from ["vm"], "nonsense", 1.0
! EVENT_FROM_TOKEN_PARSE_FAILURE ["nonsense"]

# A barrier: the token an injected event gives is just before it.
$ call event.inject "VM", "<vm>"
"<barrier-token>"
$ call VM.destroy "<vm>"
""
