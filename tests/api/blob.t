Blobs: data that is kept beside objects.

$ call VM.get_by_name_label "Other install media"
["<template>"]
$ call VM.clone "<template>", "with a picture"
"<vm>"
$ call VM.get_uuid "<vm>"
"<vm-uuid>"

# A blob belongs to an object under a name, and is empty at first.
$ call VM.create_new_blob "<vm>", "picture", "image/png", false
"<blob>"
$ call VM.create_new_blob "<vm>", "picture", "", false
! MAP_DUPLICATE_KEY ...
$ call VM.get_blobs "<vm>"
{"picture": "<blob>"}
$ call blob.get_record "<blob>" | mime_type,name_label,public,size
{"mime_type": "image/png", "name_label": "picture", "public": false, "size": "0"}
$ call blob.get_uuid "<blob>"
"<uuid>"
$ sh curl -sk -u root:a-root-password -o /dev/null -w '%{http_code}\n' 'https://127.0.0.1:<port>/blob?uuid=<uuid>'
404

# What is stored comes back, with its type; size and date say so.
$ sh head -c 300000 /dev/urandom >blob-one; head -c 3000000 /dev/urandom >blob-two
$ xe blob-put uuid=<uuid> filename=<dir>/blob-one
Blob put succeeded
$ xe blob-get uuid=<uuid> filename=<dir>/blob-got
Blob get succeeded
$ sh cmp blob-one blob-got
$ sh curl -sk -u root:a-root-password -o blob-got -w '%{http_code} %{content_type}\n' 'https://127.0.0.1:<port>/blob?ref=<blob>'; cmp blob-one blob-got
200 image/png
$ call blob.get_size "<blob>"
"300000"

# New data takes the place of the old, whole; a crash changes nothing.
$ sh curl -sk -u root:a-root-password -o /dev/null -w '%{http_code}\n' -T blob-two 'https://127.0.0.1:<port>/blob?uuid=<uuid>'
200
$ sh ls state/blobs | wc -l
1
$ kill
$ xe blob-get uuid=<uuid> filename=<dir>/blob-again
Blob get succeeded
$ sh cmp blob-two blob-again

# Without a login nobody reads it, unless it is public; nobody writes it ever.
$ sh curl -sk -o /dev/null -w '%{http_code}\n' 'https://127.0.0.1:<port>/blob?uuid=<uuid>'
401
$ call blob.set_public "<blob>", true
""
$ sh curl -sk -o blob-got -w '%{http_code}\n' 'https://127.0.0.1:<port>/blob?uuid=<uuid>'; cmp blob-two blob-got
200
$ sh curl -sk -o /dev/null -w '%{http_code}\n' -T blob-one 'https://127.0.0.1:<port>/blob?uuid=<uuid>'
401

# What is too large, of unknown length, or for no blob is refused.
$ sh truncate -s 100M large; curl -sk -u root:a-root-password -o /dev/null -w '%{http_code}\n' -T large 'https://127.0.0.1:<port>/blob?uuid=<uuid>'; rm large
413
$ sh curl -sk -u root:a-root-password -o /dev/null -w '%{http_code}\n' -T blob-one 'https://127.0.0.1:<port>/blob?uuid=none'
404
$ call blob.get_size "<blob>"
"3000000"

# It goes with its object, and its data with it.
$ call VM.destroy "<vm>"
""
$ call blob.get_size "<blob>"
! HANDLE_INVALID ["blob", "<blob>"]
$ call pool.get_all
["<pool>"]
$ call pool.create_new_blob "<pool>", "notes", "", true
"<notes>"
$ call blob.get_mime_type "<notes>"
"application/octet-stream"
$ call blob.destroy "<notes>"
""
$ sh ls state/blobs
$ call pool.get_blobs "<pool>"
{}
