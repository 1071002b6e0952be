Devices of the host are found, grouped, and given to machines. [fresh]

# What is plugged in has records after the next start, graphics processors a group of their kind.
$ device pci 0000:04:00.0 driver=nouveau
$ device pci 0000:04:00.1 class=040300 device=0fbb driver=snd_hda_intel
$ device pci 0000:05:00.0 driver=pciback
$ device pci 0000:00:1f.0 class=060100
$ restart
$ call PCI.get_all | #
3
$ xe pci-list pci-id=0000:04:00.1 params=driver-name,class-name
driver-name ( RO)    : snd_hda_intel
$ xe pci-list pci-id=0000:04:00.0 --minimal
<card>
$ call PCI.get_by_uuid "<card>"
"<card-ref>"
$ call PCI.get_record "<card-ref>" | class_id,device_id,subsystem_vendor_id,vendor_id
{"class_id": "0300", "device_id": "13f2", "subsystem_vendor_id": "10de", "vendor_id": "10de"}
$ call PCI.get_dependencies "<card-ref>" | #
1
$ xe gpu-group-list params=name-label
name-label ( RW)    : Group of Vendor 10de Device 13f2 GPUs
$ xe gpu-group-list --minimal
<group>
$ call GPU_group.get_by_uuid "<group>"
"<group-ref>"
$ xe vgpu-type-list --minimal
<type>
$ call VGPU_type.get_by_uuid "<type>"
"<type-ref>"
$ xe pgpu-list pci-uuid=<card> --minimal
<busy>
$ call PGPU.get_by_uuid "<busy>"
"<busy-ref>"
$ call PCI.get_all_records_where "field \"pci_id\" = \"0000:05:00.0\"" | #
1
$ xe pci-list pci-id=0000:05:00.0 --minimal
<free-pci>
$ call PCI.get_by_uuid "<free-pci>"
"<free-pci-ref>"
$ xe pgpu-list pci-uuid=<free-pci> --minimal
<free>
$ call PGPU.get_by_uuid "<free>"
"<free-ref>"

# A card that the host's own driver has cannot be given away; one that is kept from it can.
$ call PGPU.get_remaining_capacity "<busy-ref>", "<type-ref>"
"0"
$ call PGPU.get_remaining_capacity "<free-ref>", "<type-ref>"
"1"
$ call GPU_group.get_remaining_capacity "<group-ref>", "<type-ref>"
"1"
$ call PCI.get_dom0_access_status "<card-ref>"
"enabled"
$ call PCI.disable_dom0_access "<card-ref>"
"disable_on_reboot"
$ call PGPU.get_dom0_access "<busy-ref>"
"disable_on_reboot"
$ sh cat <dir>/config/pci-hidden
0000:04:00.0
$ call PCI.enable_dom0_access "<card-ref>"
"enabled"
$ call PGPU.disable_dom0_access "<free-ref>"
"disabled"
$ call PGPU.enable_dom0_access "<free-ref>"
"enable_on_reboot"

# Types are enabled and forbidden for each card, and the group offers what its cards do.
$ call PGPU.set_enabled_VGPU_types "<free-ref>", []
""
$ call GPU_group.get_remaining_capacity "<group-ref>", "<type-ref>"
"0"
$ call PGPU.add_enabled_VGPU_types "<free-ref>", "<type-ref>"
""
$ call PGPU.remove_enabled_VGPU_types "<busy-ref>", "<type-ref>"
""
$ call GPU_group.get_enabled_VGPU_types "<group-ref>"
["<type-ref>"]
$ call PGPU.add_enabled_VGPU_types "<busy-ref>", "<type-ref>"
""
$ xe gpu-group-create name-label=other
<other>
$ call GPU_group.get_by_uuid "<other>"
"<other-ref>"
$ call PGPU.set_GPU_group "<busy-ref>", "<other-ref>"
""
$ call GPU_group.destroy "<other-ref>"
! GPU_GROUP_CONTAINS_PGPU ["<busy-ref>"]
$ call PGPU.set_GPU_group "<busy-ref>", "<group-ref>"
""
$ call GPU_group.destroy "<other-ref>"
""

# A machine with a virtual GPU gets a card for itself when it starts.
$ xe vm-install template="Other install media" new-name-label=first
<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ xe vgpu-create vm-uuid=<vm> gpu-group-uuid=<group> device=99
! The device name given is not a valid one for this object.
! device: 99
$ xe vgpu-create vm-uuid=<vm> gpu-group-uuid=<group>
<vgpu>
$ call VGPU.get_by_uuid "<vgpu>"
"<vgpu-ref>"
$ xe vgpu-create vm-uuid=<vm> gpu-group-uuid=<group>
! The VM already has a device at this position. Choose a free device number.
! device: 0
$ xe vgpu-create vm-uuid=<vm> gpu-group-uuid=<group> device=1
! This type of virtual GPU cannot be combined with those the VM already has.
! type: <type-ref>
$ xe vm-start uuid=<vm>
$ sim devices=<vm>
pcis=0000:05:00.0
usbs=
$ call VGPU.get_record "<vgpu-ref>" | PCI,currently_attached,resident_on,scheduled_to_be_resident_on
{"PCI": "<free-pci-ref>", "currently_attached": true, "resident_on": "<free-ref>", "scheduled_to_be_resident_on": "OpaqueRef:NULL"}
$ call VM.get_attached_PCIs "<vm-ref>"
["<free-pci-ref>"]
$ call PGPU.get_remaining_capacity "<free-ref>", "<type-ref>"
"0"
$ call PGPU.remove_enabled_VGPU_types "<free-ref>", "<type-ref>"
! PGPU_IN_USE_BY_VM ["<vm-ref>"]
$ call PGPU.set_GPU_group "<free-ref>", "<group-ref>"
! PGPU_IN_USE_BY_VM ["<vm-ref>"]
$ call VGPU.destroy "<vgpu-ref>"
! OPERATION_NOT_ALLOWED ["The VM of the virtual GPU has to be halted."]
$ call GPU_group.destroy "<group-ref>"
! GPU_GROUP_CONTAINS_VGPU ["<vgpu-ref>"]
$ call VM.suspend "<vm-ref>"
! VM_HAS_PCI_ATTACHED ["<vm-ref>"]

# Nobody else gets it meanwhile, by either name.
$ xe vm-install template="Other install media" new-name-label=second
<second>
$ call VM.get_by_uuid "<second>"
"<second-ref>"
$ xe vgpu-create vm-uuid=<second> gpu-group-uuid=<group>
<second-vgpu>
$ call VM.start "<second-ref>", false, false
! VM_REQUIRES_GPU ["<second-ref>", "<group-ref>"]
$ xe vgpu-destroy uuid=<second-vgpu>
$ xe vm-param-set uuid=<second> other-config:pci=0/0000:05:00.0
$ call VM.start "<second-ref>", false, false
! OPERATION_NOT_ALLOWED ["The VM cannot have the PCI device 0000:05:00.0: it is in use."]
$ xe vm-param-set uuid=<second> other-config:pci=0/0000:04:00.0
$ call VM.start "<second-ref>", false, false
! OPERATION_NOT_ALLOWED ["The VM cannot have the PCI device 0000:04:00.0: the host uses it itself; see PCI.disable_dom0_access."]
$ xe vm-param-set uuid=<second> other-config:pci=0/0000:09:00.0
$ call VM.start "<second-ref>", false, false
! OPERATION_NOT_ALLOWED ["The VM cannot have the PCI device 0000:09:00.0: the host has no such device."]

# It keeps the card over a reboot, and over a restart of the daemon; halted it is free again.
$ xe vm-reboot uuid=<vm> force=true
$ sim devices=<vm>
pcis=0000:05:00.0
usbs=
$ kill
$ call VGPU.get_resident_on "<vgpu-ref>"
"<free-ref>"
$ xe vm-shutdown uuid=<vm> force=true
$ call VGPU.get_record "<vgpu-ref>" | PCI,currently_attached,resident_on
{"PCI": "OpaqueRef:NULL", "currently_attached": false, "resident_on": "OpaqueRef:NULL"}
$ call VM.get_attached_PCIs "<vm-ref>"
[]
$ xe vm-param-set uuid=<second> other-config:pci=0/0000:05:00.0
$ xe vm-start uuid=<second>
$ sim devices=<second>
pcis=0000:05:00.0
usbs=
$ xe vm-shutdown uuid=<second> force=true

# A device that is gone has no record any more, one that stays keeps its own.
$ device gone 0000:04:00.1
$ device pci 0000:04:00.0 driver=pciback
$ restart
$ call PCI.get_all | #
2
$ xe pci-list pci-id=0000:04:00.0 --minimal
<card>
$ xe pgpu-list pci-uuid=<card> --minimal
<busy>
$ call GPU_group.get_remaining_capacity "<group-ref>", "<type-ref>"
"2"
$ xe vm-destroy uuid=<vm>
$ xe vm-destroy uuid=<second>

# USB devices are found when one looks: no hubs, no keyboards.
$ device usb 1-2
$ device usb 1-3 bDeviceClass=09
$ device usb 1-4 interface=03.01
$ xe host-list --minimal
<host>
$ xe pusb-scan host-uuid=<host>
$ xe pusb-list params=path,vendor-id,product-id,description,passthrough-enabled,version
path ( RO)                   : 1-2
              vendor-id ( RO): 046d
             product-id ( RO): 0825
                version ( RO): 2.00
            description ( RO): Maker Camera
    passthrough-enabled ( RW): false
$ xe pusb-list --minimal
<pusb>
$ call PUSB.get_by_uuid "<pusb>"
"<pusb-ref>"
$ call PUSB.get_speed "<pusb-ref>"
480.0
$ xe usb-group-list params=name-label
name-label ( RW)    : Group of Maker Camera USBs
$ xe usb-group-list --minimal
<usbs>
$ call USB_group.get_by_uuid "<usbs>"
"<usbs-ref>"
$ call USB_group.destroy "<usbs-ref>"
! USB_GROUP_CONTAINS_PUSB ["<pusb-ref>"]

# A machine is given one when it starts, if that was allowed.
$ xe vm-install template="Other install media" new-name-label=seeing
<vm3>
$ call VM.get_by_uuid "<vm3>"
"<vm3-ref>"
$ xe vusb-create vm-uuid=<vm3> usb-group-uuid=<usbs>
<vusb>
$ call VUSB.get_by_uuid "<vusb>"
"<vusb-ref>"
$ xe vusb-create vm-uuid=<vm3> usb-group-uuid=<usbs>
! Another virtual USB of a VM already uses this USB group.
! USB_group: <usbs> (Group of Maker Camera USBs)
$ call VM.start "<vm3-ref>", false, false
! VM_REQUIRES_VUSB ["<vm3-ref>", "<usbs-ref>"]
$ xe pusb-param-set uuid=<pusb> passthrough-enabled=true
$ xe vm-start uuid=<vm3>
$ sim devices=<vm3>
pcis=
usbs=1.5
$ call VUSB.get_record "<vusb-ref>" | allowed_operations,currently_attached
{"allowed_operations": ["unplug"], "currently_attached": true}
$ call PUSB.set_passthrough_enabled "<pusb-ref>", false
! USB_ALREADY_ATTACHED ["<pusb-ref>", "<vm3-ref>"]
$ call VUSB.destroy "<vusb-ref>"
! OPERATION_NOT_ALLOWED ["VUSB '<vusb>' still attached to '<vm3>'"]
$ call USB_group.destroy "<usbs-ref>"
! USB_GROUP_CONTAINS_VUSB ["<vusb-ref>"]
$ call VM.suspend "<vm3-ref>"
! VM_HAS_VUSBS ["<vm3-ref>"]
$ xe vusb-unplug uuid=<vusb>
$ sim devices=<vm3>
pcis=
usbs=
$ call VUSB.get_record "<vusb-ref>" | allowed_operations,currently_attached,other_config
{"allowed_operations": [], "currently_attached": false, "other_config": {}}
$ call VUSB.unplug "<vusb-ref>"
! DEVICE_ALREADY_DETACHED ["<vusb-ref>"]
$ xe vm-shutdown uuid=<vm3> force=true

# Pulled out, it cannot be had; its group stays as long as somebody wants it.
$ device gone 1-2
$ call VM.start "<vm3-ref>", false, false
! VM_REQUIRES_VUSB ["<vm3-ref>", "<usbs-ref>"]
$ xe pusb-scan host-uuid=<host>
$ xe pusb-list
$ call VM.start "<vm3-ref>", false, false
! VM_REQUIRES_VUSB ["<vm3-ref>", "<usbs-ref>"]
$ device usb 1-2 devnum=9
$ xe pusb-scan host-uuid=<host>
$ xe pusb-list usb-group-uuid=<usbs> --minimal
<again>
$ xe vusb-destroy uuid=<vusb>
$ device gone 1-2
$ xe pusb-scan host-uuid=<host>
$ xe usb-group-list
$ xe vm-destroy uuid=<vm3>
$ device gone 0000:04:00.0
$ device gone 0000:05:00.0
