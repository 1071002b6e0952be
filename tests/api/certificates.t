Certificates: of the host, of those that are trusted, of clients. [fresh]

# The host has a certificate, and a record of it.
$ call host.get_all
["<host>"]
$ xe host-list --minimal
<uuid>
$ xe certificate-list params=type,name,host
type ( RO)    : host
    name ( RO):
    host ( RO): <uuid>
$ xe certificate-list type=host params=fingerprint --minimal
<old>

# Texts that are no good are refused, the key first.
$ sh openssl req -x509 -newkey rsa:2048 -nodes -keyout good.key -out good.pem -days 90 -sha256 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null
$ sh openssl req -x509 -newkey rsa:1024 -nodes -keyout short.key -out short.pem -days 90 -sha256 -subj /CN=short 2>/dev/null
$ sh openssl ecparam -name prime256v1 -genkey -noout -out curve.key
$ sh openssl req -x509 -key good.key -out weak.pem -days 90 -sha1 -subj /CN=weak 2>/dev/null
$ sh openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -days 90 -sha256 -subj /CN=other 2>/dev/null
$ xe host-server-certificate-install certificate=<dir>/short.pem private-key=<dir>/short.key
! The RSA key's length is not accepted; use one between 2048 and 4096 bits.
! length: 1024
$ xe host-server-certificate-install certificate=<dir>/good.pem private-key=<dir>/curve.key
! The private key uses an algorithm the host cannot handle; use an RSA key.
! algorithm_oid: 1.2.840.10045.2.1
$ xe host-server-certificate-install certificate=<dir>/good.pem private-key=<dir>/good.pem
! The private key could not be read; give it unencrypted and in PEM form.
$ xe host-server-certificate-install certificate=<dir>/good.key private-key=<dir>/good.key
! The server certificate is not a valid PEM-encoded X.509 certificate.
$ xe host-server-certificate-install certificate=<dir>/other.pem private-key=<dir>/good.key
! The private key does not belong to the server certificate given with it.
$ xe host-server-certificate-install certificate=<dir>/weak.pem private-key=<dir>/good.key
! The server certificate is signed with an algorithm that is not accepted; use a SHA-2 signature.
$ xe host-server-certificate-install certificate=<dir>/good.pem private-key=<dir>/good.key certificate-chain=<dir>/good.key
! The intermediate certificates given do not form a valid PEM chain.
$ xe certificate-list type=host params=fingerprint --minimal
<old>

# A good one is shown at once, recorded, and stays after a crash.
$ xe host-server-certificate-install certificate=<dir>/good.pem private-key=<dir>/good.key certificate-chain=<dir>/other.pem
$ sh openssl x509 -in good.pem -noout -fingerprint -sha256 | cut -d= -f2
<good>
$ xe certificate-list type=host params=fingerprint --minimal
<good>
$ sh openssl s_client -connect 127.0.0.1:<port> </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256 | cut -d= -f2
<good>
$ sh openssl s_client -connect 127.0.0.1:<port> -showcerts </dev/null 2>/dev/null | grep -c BEGIN
2
$ sh stat -c %a state/xapid-tls.pem
600
$ kill
$ xe certificate-list type=host params=fingerprint --minimal
<good>

# It is given up for a new one.
$ xe host-reset-server-certificate
$ xe certificate-list type=host params=fingerprint --minimal
<!good>
$ xe host-emergency-reset-server-certificate
$ xe certificate-list type=host --minimal
<certificate>

# An authority is installed by name, once; what is no certificate is not.
$ sh openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 3650 -sha256 -subj /CN=authority 2>/dev/null
$ xe pool-install-ca-certificate filename=<dir>/ca.pem
$ xe pool-install-ca-certificate filename=<dir>/ca.pem
! A certificate of this name is installed already. Remove it first, or choose a different name.
! name: ca.pem
$ call pool.install_ca_certificate "../evil", "x"
! CERTIFICATE_NAME_INVALID ["../evil"]
$ call pool.install_ca_certificate "bad.pem", "no certificate"
! CA_CERTIFICATE_INVALID []
$ call pool.certificate_list
["ca.pem"]
$ xe certificate-list type=ca params=name,host
name ( RO)    : ca.pem
    host ( RO): <not in database>
$ sh cmp ca.pem state/certificates/ca/ca.pem
$ sh cmp ca.pem state/certificates/ca-bundle.pem
$ sh rm state/certificates/ca/ca.pem; echo >state/certificates/ca/stray.pem
$ xe pool-certificate-sync
$ sh ls state/certificates/ca
ca.pem

# One host can be given one alone; it has no record.
$ call host.install_ca_certificate "<host>", "ca.pem", "x"
! CA_CERTIFICATE_INVALID []

# A certificate that ends soon is spoken of once, also when the message was dismissed.
$ sh openssl req -x509 -key ca.key -out soon.pem -days 10 -sha256 -subj /CN=soon 2>/dev/null
$ xe pool-install-ca-certificate filename=<dir>/soon.pem
$ xe message-list params=name,class,body
name ( RO)     : POOL_CA_CERTIFICATE_EXPIRING_14
    class ( RO): Certificate
     body ( RO): ...The CA pool certificate is expiring soon...
$ xe message-list --minimal
<message>
$ xe message-destroy uuid=<message>
$ xe pool-certificate-sync
$ xe message-list --minimal
$ xe pool-uninstall-ca-certificate name=soon.pem
$ xe pool-uninstall-ca-certificate name=soon.pem
! No certificate of this name is installed in the pool.
! name: soon.pem
$ xe pool-uninstall-ca-certificate name=soon.pem force=true

# Trusted for a purpose, and pinned.
$ call pool.get_all
["<pool>"]
$ xe pool-install-trusted-certificate filename=<dir>/other.pem ca=false
! At least one purpose must be named for which the certificate is to be trusted.
$ xe pool-install-trusted-certificate filename=<dir>/other.pem ca=false purpose=licensing
$ xe pool-install-trusted-certificate filename=<dir>/other.pem ca=true
! A trusted certificate with this fingerprint is installed already.
! fingerprint: <other>
$ xe certificate-list type=pinned params=purpose
purpose ( RO)    : licensing
$ xe certificate-list type=pinned --minimal
<pinned>
$ sh ls state/certificates/pinned
<pinned>.pem
$ xe pool-uninstall-trusted-certificate certificate-uuid=<pinned>
$ xe pool-uninstall-trusted-certificate certificate-uuid=<certificate>
! The certificate is not one of the trusted ones, so it cannot be handled as such.
! ref: <ref>
$ sh ls state/certificates/pinned

# Clients are known by a certificate of that name, and by none that was revoked.
$ sh openssl req -newkey rsa:2048 -nodes -keyout client.key -out client.csr -subj /CN=robot.example.org 2>/dev/null
$ sh openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -out client.pem 2>/dev/null
$ sh curl -sk -o /dev/null -w '%{http_code}\n' --cert client.pem --key client.key https://127.0.0.1:<port>/audit_log
401
$ xe pool-enable-client-certificate-auth name=robot.example.org
$ sh curl -sk -o /dev/null -w '%{http_code}\n' --cert client.pem --key client.key https://127.0.0.1:<port>/audit_log
200
$ sh curl -sk -o /dev/null -w '%{http_code}\n' https://127.0.0.1:<port>/audit_log
401
$ sh curl -sk -o /dev/null -w '%{http_code}\n' --cert other.pem --key other.key https://127.0.0.1:<port>/audit_log
401
$ sh curl -sk --cert client.pem --key client.key https://127.0.0.1:<port>/jsonrpc -d '{"jsonrpc":"2.0","id":1,"method":"session.login_with_password","params":["",""]}' | grep -c OpaqueRef
1
$ sh printf '[ca]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=30\n' >crl.conf; : >index
$ sh openssl ca -config crl.conf -name ca -cert ca.pem -keyfile ca.key -revoke client.pem 2>/dev/null
$ sh openssl ca -config crl.conf -name ca -cert ca.pem -keyfile ca.key -gencrl -out list.pem 2>/dev/null
$ xe pool-crl-install filename=<dir>/list.pem
$ xe pool-crl-install filename=<dir>/list.pem
! A revocation list of this name is installed already. Remove it first, or use another name.
! name: list.pem
$ xe pool-crl-install filename=<dir>/ca.pem
! The certificate revocation list is damaged or is not in PEM form.
! name: ca.pem
$ xe pool-crl-list
list.pem
$ sh curl -sk -o /dev/null -w '%{http_code}\n' --cert client.pem --key client.key https://127.0.0.1:<port>/audit_log
401
$ xe pool-crl-uninstall name=list.pem
$ xe pool-crl-uninstall name=list.pem
! No certificate revocation list of this name is installed in the pool.
! name: list.pem
$ sh curl -sk -o /dev/null -w '%{http_code}\n' --cert client.pem --key client.key https://127.0.0.1:<port>/audit_log
200
$ xe pool-enable-client-certificate-auth name=another.example.org
$ sh curl -sk -o /dev/null -w '%{http_code}\n' --cert client.pem --key client.key https://127.0.0.1:<port>/audit_log
401
$ xe pool-disable-client-certificate-auth
$ call pool.get_client_certificate_auth_enabled "<pool>"
false

# TLS verification.
$ xe host-emergency-reenable-tls-verification
! This needs TLS certificate checking to be enabled in the pool, and it is off.
$ xe pool-enable-tls-verification
$ call host.get_tls_verification_enabled "<host>"
true
$ xe host-emergency-disable-tls-verification
$ call host.get_tls_verification_enabled "<host>"
false
$ xe message-list name=TLS_VERIFICATION_EMERGENCY_DISABLED params=class --minimal
Host
$ xe host-emergency-reenable-tls-verification
$ call host.get_tls_verification_enabled "<host>"
true

# The pool's secret is exchanged for another, which alone counts from then on.
$ sh cp state/pool-secret former; curl -sk -o /dev/null -w '%{http_code}\n' -b "pool_secret=$(cat former)" https://127.0.0.1:<port>/audit_log
200
$ xe pool-secret-rotate
$ sh curl -sk -o /dev/null -w '%{http_code}\n' -b "pool_secret=$(cat former)" https://127.0.0.1:<port>/audit_log
401
$ sh curl -sk -o /dev/null -w '%{http_code}\n' -b "pool_secret=$(cat state/pool-secret)" https://127.0.0.1:<port>/audit_log
200
