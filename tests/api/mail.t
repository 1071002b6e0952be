Messages are mailed on, where the pool says to whom.

$ call pool.get_all
["<pool>"]
$ call pool.get_uuid "<pool>"
"<uuid>"
$ sh mkdir -p config; printf '#!/bin/sh\ncat >>%s/mails\n' "$PWD" >config/mail-alarm; chmod +x config/mail-alarm

# Without an address nothing is sent.
$ call message.create "UNSENT", 1, "Pool", "<uuid>", "a"
"<unsent>"
$ call message.destroy "<unsent>"
""
$ call pool.add_to_other_config "<pool>", "mail-destination", "admin@example.org"
""
$ call pool.add_to_other_config "<pool>", "mail-sender", "pool@example.org"
""

# What is grave enough is sent, the rest is not.
$ call message.create "CALM", 4, "Pool", "<uuid>", "b"
"<calm>"
$ call message.create "GRAVE", 2, "Pool", "<uuid>", "line 1\nline 2"
"<grave>"
$ until sh cat mails
From: pool@example.org
To: admin@example.org
Subject: [alert] GRAVE
Content-Type: text/plain; charset=utf-8
Auto-Submitted: auto-generated
Name: GRAVE
Priority: 2
Class: Pool
Object: <uuid>
Time: ...
line 1
line 2

# The least priority can be set.
$ call pool.add_to_other_config "<pool>", "mail-min-priority", "5"
""
$ call message.create "CALMER", 5, "Pool", "<uuid>", "c"
"<calmer>"
$ until sh grep Subject mails
Subject: [alert] GRAVE
Subject: [message] CALMER
$ call pool.set_other_config "<pool>", {}
""
