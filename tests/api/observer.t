Observers have spans of calls written down. [fresh]

$ xe host-list --minimal
<host>
$ xe observer-create name-label=watcher endpoints=bugtool attributes:team=blue enabled=true
<uuid>
$ call Observer.get_by_uuid "<uuid>"
"<observer>"

# A call has a span in a file of this host, as a part of what the client says it is a part of.
$ sh curl -s -o /dev/null -H "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01" --unix-socket xapi -d '{"jsonrpc":"2.0","method":"session.login_with_password","params":["root","x"],"id":1}' http://localhost/jsonrpc
$ call VM.start "OpaqueRef:NULL", false, false
! HANDLE_INVALID ["VM", "OpaqueRef:NULL"]
$ until sh grep -ho '"name":"[a-zA-Z_.]*"\|"traceId":"0123[0-9a-f]*","parentId":"[0-9a-f]*"\|"team":"blue"\|"error":"[A-Z_]*"' state/traces/<uuid>.ndjson | sort -u | grep -v 'Observer\|system\|logout'
"error":"HANDLE_INVALID"
"name":"VM.start"
"name":"session.login_with_password"
"team":"blue"
"traceId":"0123456789abcdef0123456789abcdef","parentId":"0123456789abcdef"
$ sh python3 -c "import json; s = [json.loads(l) for l in open('state/traces/<uuid>.ndjson')]; print(all(x['duration'] >= 0 and x['tags']['xs.host.uuid'] == '<host>' and x['localEndpoint']['serviceName'] == 'xapi' for x in s))"
True

# It is in a report on the host.
$ sh curl -s --unix-socket xapi -o report.tar "http://localhost/system-status?entries=xapid-traces&output=tar"; tar xOf report.tar xapid-traces/traces.ndjson | grep -c VM.start
1

# One that is off, or for another component, sees nothing; what cannot be is refused.
$ xe observer-param-set uuid=<uuid> enabled=false
$ xe observer-param-get uuid=<uuid> param-name=enabled
false
$ call VM.destroy "OpaqueRef:NULL"
! HANDLE_INVALID ["VM", "OpaqueRef:NULL"]
$ call Observer.set_endpoints "<observer>", ["http://collector:9411/api/v2/spans"]
! VALUE_NOT_SUPPORTED ["endpoints", "http://collector:9411/api/v2/spans", "spans go to files only: bugtool"]
$ call Observer.set_components "<observer>", ["xenopsd"]
! VALUE_NOT_SUPPORTED ["components", "xenopsd", "spans come from calls only: xapi"]
$ call Observer.set_hosts "<observer>", ["OpaqueRef:NULL"]
! HANDLE_INVALID ["host", "OpaqueRef:NULL"]
$ xe observer-param-add uuid=<uuid> param-name=attributes level=two
$ xe observer-param-get uuid=<uuid> param-name=attributes
team: blue; level: two
$ xe observer-param-remove uuid=<uuid> param-name=attributes param-key=team
$ xe observer-param-add uuid=<uuid> param-name=components param-key=xapi
$ xe observer-param-get uuid=<uuid> param-name=components
xapi

# Without its observer the file goes at the next start.
$ xe observer-destroy uuid=<uuid>
$ restart
$ sh ls state/traces | wc -l
0
