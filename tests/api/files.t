Static files come from the web root and from nowhere else. [--web-root=<dir>/www]

$ sh mkdir -p www/sub; echo front > www/index.html; echo page > www/sub/page.html; ln -s ../../state/pool-secret www/sub/out; ln -s page.html www/sub/in; mkfifo www/pipe
$ sh curl -sk 'https://127.0.0.1:<port>/' 'https://127.0.0.1:<port>/sub/page.html' 'https://127.0.0.1:<port>/sub/in'
front
page
page

# What leads out of it is refused, however it is written; so is what is no file.
$ sh for p in ../state/pool-secret %2e%2e/state/pool-secret sub/../../state/pool-secret sub/%2e%2e%2f%2e%2e%2fstate/pool-secret sub/out pipe ..; do curl -sk --path-as-is -o /dev/null -w "%{http_code} $p\n" "https://127.0.0.1:<port>/$p"; done
403 ../state/pool-secret
403 %2e%2e/state/pool-secret
403 sub/../../state/pool-secret
403 sub/%2e%2e%2f%2e%2e%2fstate/pool-secret
403 sub/out
403 pipe
403 ..
