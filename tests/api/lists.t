Lists, filters and parameters of xe.

$ xe vm-install template="Other install media" new-name-label="list one"
<one>
$ xe vm-install template="Other install media" new-name-label="list two, with a comma"
<two>

# Filters select; --minimal joins with commas and escapes those that are part of a value.
$ xe vm-list name-label="list one" params=uuid
uuid ( RO)    : <one>
$ xe vm-list uuid=<two> params=name-label --minimal
list two\, with a comma
$ xe vm-list power-state=suspended --minimal

# Parameters are set, got, added to and removed from.
$ xe vm-param-set uuid=<one> name-description="hello"
$ xe vm-param-get uuid=<one> param-name=name-description
hello
$ xe vm-param-set uuid=<one> other-config:colour=blue
$ xe vm-param-get uuid=<one> param-name=other-config param-key=colour
blue
$ xe vm-param-add uuid=<one> param-name=other-config shape=round
$ xe vm-param-get uuid=<one> param-name=other-config param-key=shape
round
$ xe vm-param-remove uuid=<one> param-name=other-config param-key=shape
$ xe vm-param-get uuid=<one> param-name=other-config param-key=shape
! ...
$ xe vm-param-add uuid=<one> param-name=tags param-key=alpha
$ xe vm-list tags:contains=alpha --minimal
<one>
$ xe vm-param-clear uuid=<one> param-name=tags
$ xe vm-list tags:contains=alpha --minimal

# What cannot be set says so.
$ xe vm-param-set uuid=<one> power-state=running
! ...
$ xe vm-param-get uuid=<one> param-name=nonsense
! Error code: ...
! Error parameters: nonsense
$ xe vm-destroy uuid=<one>
$ xe vm-destroy uuid=<two>
