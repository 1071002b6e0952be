Storage on a LUN of an iSCSI target: refused where there is no iscsiadm; where there is, probed for in three steps, made, used and left.

$ xe host-list --minimal
<host>
$ call host.get_by_uuid "<host>"
"<host-ref>"
$ call SR.probe "<host-ref>", {"target":"nas"}, "lvmoiscsi", {}
! SR_BACKEND_FAILURE_47 ["", "The storage repository is not available [opterr=this host has no iscsiadm program (Debian: open-iscsi)]", ""]

# From here on there is one, which is played, and so is LVM.
$ sh mkdir -p <dir>/state/system/usr/sbin
$ sh cp <top>/tests/unit/storage/fake-lvm <dir>/state/system/usr/sbin/lvm
$ sh cp <top>/tests/unit/storage/fake-iscsiadm <dir>/state/system/usr/sbin/iscsiadm
$ sh echo '{"portal":"nas:3260","chap":["me","key"],"targets":{"iqn.2003-01.org.example:one":[{"vendor":"LIO","serial":"s1","wwid":"naa.6001405aa","size":1073741824}]}}' > <dir>/state/system/targets.json
$ xe sm-list type=lvmoiscsi params=name-label,type
name-label ( RO)    : LVM over iSCSI
          type ( RO): lvmoiscsi

# What XenCenter and Xen Orchestra ask, one after the other.
$ call SR.probe "<host-ref>", {}, "lvmoiscsi", {}
! SR_BACKEND_FAILURE_95 ["", "device_config:target is missing [opterr=the target's name or address is wanted]", ""]
$ call SR.probe "<host-ref>", {"target":"nas"}, "lvmoiscsi", {}
! SR_BACKEND_FAILURE_68 ["", "The iSCSI target has refused the login [opterr=nas:3260: iscsiadm: initiator failed authorization]", ""]
$ call SR.probe "<host-ref>", {"target":"nas","chapuser":"me","chappassword":"key"}, "lvmoiscsi", {}
! SR_BACKEND_FAILURE_96 ["", "device_config:targetIQN is missing or wrong [opterr=one of the target's names is wanted]", "<?xml version=\"1.0\" ?><iscsi-target-iqns><TGT><Index>0</Index><IPAddress>nas</IPAddress><Port>3260</Port><TargetIQN>iqn.2003-01.org.example:one</TargetIQN></TGT></iscsi-target-iqns>"]
$ call SR.probe "<host-ref>", {"target":"nas","targetIQN":"iqn.2003-01.org.example:one","chapuser":"me","chappassword":"key"}, "lvmoiscsi", {}
! SR_BACKEND_FAILURE_107 ["", "device_config:SCSIid is missing or wrong [opterr=one of the target's LUNs is wanted]", "<?xml version=\"1.0\" ?><iscsi-target><LUN><vendor>LIO</vendor><serial>s1</serial><LUNid>0</LUNid><size>1073741824</size><SCSIid>36001405aa</SCSIid></LUN></iscsi-target>"]
$ call SR.probe "<host-ref>", {"target":"nas","targetIQN":"iqn.2003-01.org.example:one","SCSIid":"36001405aa","chapuser":"me","chappassword":"key"}, "lvmoiscsi", {}
"<?xml version=\"1.0\" ?><SRlist></SRlist>"
$ sh ls <dir>/state/sr-mount

# A password may be a secret; it is not told to who asks.
$ xe secret-create value=key
<secret>
$ call SR.probe_ext "<host-ref>", {"target":"nas","chapuser":"me","chappassword_secret":"<secret>"}, "lvmoiscsi", {}
[{"complete": false, "configuration": {"chappassword_secret": "<secret>", "chapuser": "me", "target": "nas", "targetIQN": "iqn.2003-01.org.example:one"}, ...

# Clients make every such repository a shared one; where disks are thin only one host can have it.
$ call SR.create "<host-ref>", {"target":"nas","targetIQN":"iqn.2003-01.org.example:one","SCSIid":"36001405aa","chapuser":"me","chappassword":"key","allocation":"thin"}, 0, "thin", "", "lvmoiscsi", "user", true, {}
! OPERATION_NOT_ALLOWED ["A storage repository of type lvmoiscsi cannot be shared: with allocation=thin its disks take their space from a pool that only one host at a time can have; leave allocation out, or say thick."]
$ call SR.introduce "", "volumes", "", "lvmoiscsi", "user", true, {}
"<volumes>"
$ call PBD.create {"host":"<host-ref>","SR":"<volumes>","device_config":{"target":"nas","allocation":"thin"},"other_config":{}}
! OPERATION_NOT_ALLOWED ["A storage repository of type lvmoiscsi cannot be shared: with allocation=thin its disks take their space from a pool that only one host at a time can have; leave allocation out, or say thick."]
$ call PBD.create {"host":"<host-ref>","SR":"<volumes>","device_config":{"target":"nas"},"other_config":{}}
"<volumes-pbd>"
$ call PBD.set_device_config "<volumes-pbd>", {"target":"nas","allocation":"thin"}
! OPERATION_NOT_ALLOWED ["A storage repository of type lvmoiscsi cannot be shared: with allocation=thin its disks take their space from a pool that only one host at a time can have; leave allocation out, or say thick."]
$ call SR.forget "<volumes>"
""

$ xe sr-create name-label=san type=lvmoiscsi content-type=user shared=true device-config:target=nas device-config:targetIQN=iqn.2003-01.org.example:one device-config:SCSIid=36001405aa device-config:chapuser=me device-config:chappassword=key
<sr>
$ xe sr-list uuid=<sr> params=type,physical-size,shared
physical-size ( RO)    : 1073741824
             type ( RO): lvmoiscsi
           shared ( RW): true
$ sh ls <dir>/state/sr-mount
<sr>.iscsi
<sr>.lvm-lock
<sr>.lvmoiscsi
iqn.2003-01.org.example:one.iscsi-lock
$ sh grep -c key <dir>/state/sr-mount/<sr>.iscsi
0

# A VM runs from it, and a daemon that is killed finds its disk again without asking anybody.
$ xe vdi-create sr-uuid=<sr> name-label=disk virtual-size=16MiB
<vdi>
$ xe vdi-snapshot uuid=<vdi>
<snap>
$ xe vm-create name-label=guest memory-static-max=64MiB
<vm>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<vdi> device=0 mode=RW type=Disk
<vbd>
$ xe vm-start uuid=<vm>
$ sh wc -l < <dir>/state/system/iscsi-log
<commands>
$ kill
$ xe vm-param-get uuid=<vm> param-name=power-state
running
$ sh wc -l < <dir>/state/system/iscsi-log
<commands>
$ xe vm-shutdown uuid=<vm> force=true

# A host that starts while the target is away says so, and goes on by itself when that is back.
$ stop
$ sh rm -r <dir>/state/sr-mount <dir>/state/system/sys <dir>/state/system/iscsi.json
$ sh sed -i s/nas:3260/away:3260/ <dir>/state/system/targets.json
$ start
$ xe pbd-list sr-uuid=<sr> --minimal
<pbd>
$ xe pbd-param-get uuid=<pbd> param-name=other-config
plug-again: SR_BACKEND_FAILURE_141(, The iSCSI target does not answer [opterr=nas:3260: iscsiadm: cannot make connection to nas:3260: Connection refused], )
$ sh sed -i s/away:3260/nas:3260/ <dir>/state/system/targets.json
$ until xe pbd-param-get uuid=<pbd> param-name=currently-attached
true
$ xe vdi-list sr-uuid=<sr> managed=true is-a-snapshot=false --minimal
<vdi>

# What was left of a repository that is not this host's any more goes at the next start.
$ sh echo 'own iqn.2003-01.org.example:gone' > <dir>/state/sr-mount/00000000-0000-4000-8000-000000000001.iscsi
$ kill
$ until sh ls <dir>/state/sr-mount
<sr>.iscsi
<sr>.lvm-lock
<sr>.lvmoiscsi
iqn.2003-01.org.example:one.iscsi-lock

# Unplugged it is logged out of; destroyed, nothing is left.
$ xe vm-destroy uuid=<vm>
$ xe vdi-destroy uuid=<snap>
$ xe vdi-destroy uuid=<vdi>
$ xe pbd-unplug uuid=<pbd>
$ sh ls <dir>/state/sr-mount
$ sh grep -o '"sessions": {}' <dir>/state/system/iscsi.json
"sessions": {}
$ xe sr-destroy uuid=<sr>
$ sh grep -o '"groups": {}' <dir>/state/system/groups
"groups": {}
$ xe secret-destroy uuid=<secret>
$ xe secret-list --minimal
$ sh rm <dir>/state/system/usr/sbin/lvm <dir>/state/system/usr/sbin/iscsiadm
