#!/bin/sh
# shellcheck disable=SC2154 # tests/lib sets registry_port and others
# The n-th system call of a process fails, is interrupted or does half its work,
# over whole pulls and removals: the verb says one clear line or succeeds, the
# store is sound, and what was taken is given back.
#
# Of each sort of fault one n is tried per verb, or IMGD_TEST_SAMPLE; with
# IMGD_TEST_SCALE=long the first and the last call from each place in the code,
# with IMGD_TEST_SCALE=all every one, which takes days.  IMGD_TEST_DRIVERS are
# other drivers than vfs, overlay and aufs.
. "$srcdir/tests/lib/unshared.sh"
. "$srcdir/tests/lib/cli.sh"
. "$srcdir/tests/fault/fault.sh"
. "$srcdir/tests/fault/sweep.sh"

# What changes or reads a disk; what makes a descriptor; what waits; what moves
# bytes.
disk=open,mkdir,mkdirat,unlink,unlinkat,renameat,renameat2,linkat,symlinkat
disk=$disk,mknodat,fsync,fdatasync,syncfs,ftruncate,fallocate,read,pread,write
disk=$disk,pwrite,copy_file_range,fchown,fchownat,fchmod,fchmodat,futimens
disk=$disk,utimensat,fsetxattr,fstat,fstatat,fstatvfs,readlinkat,readdir
disk=$disk,fdopendir,opendir,mount,umount2,ioctl,syscall,flock,mmap
room=open,mkdir,mkdirat,renameat,renameat2,linkat,symlinkat,mknodat,fsync
room=$room,fdatasync,syncfs,ftruncate,fallocate,write,pwrite,copy_file_range
room=$room,fsetxattr,fchown,fchownat
files=open,opendir,fdopendir,socket,socketpair,pipe2,accept4,eventfd,fcntl,syscall
waits=read,pread,write,pwrite,sendmsg,recvmsg,poll,waitpid,flock
bytes=read,pread,write,pwrite,copy_file_range,sendmsg,recvmsg
makes=pthread_create,posix_spawn,fork,socketpair,pipe2,mmap,getrandom

for driver in $drivers; do
	sweep_begin
	sweep engine $disk EIO
	sweep engine $room ENOSPC
	sweep engine $files EMFILE
	sweep engine $waits EINTR
	# The first polls are the main loop's.
	sweep_calls engine poll EINTR pull 1 2 3
	sweep engine $bytes short
	sweep engine $makes EAGAIN
	sweep unpacker $disk EIO
	sweep unpacker $room ENOSPC
	sweep unpacker $waits EINTR
	sweep unpacker $bytes short
	sweep puller $disk EIO
	sweep puller $files EMFILE
	sweep puller $waits EINTR
	sweep puller $bytes short
	sweep spawner $disk EIO
	sweep client $disk EIO
	sweep client $files EMFILE
	sweep client $waits EINTR
	sweep client $bytes short
	sweep_end
done
echo "# $n_faults calls failed"
cli_end
