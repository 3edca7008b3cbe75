/* SPDX-License-Identifier: Apache-2.0 */
/* Words for status codes, sizes of element types, the version. */
#include "base/compiler.h"
#include "kvferry/kvferry.h"

#define STRING(x) #x
#define NUMBER(x) STRING(x)

const char *kvf_version(void)
{
	return NUMBER(KVF_VERSION_MAJOR) "." NUMBER(KVF_VERSION_MINOR) "." NUMBER(KVF_VERSION_PATCH);
}

/* Index = KVF_EINVAL - status. */
static const char *const status_text[] = {
	"KVF_EINVAL: an argument is wrong",
	"KVF_ERANGE: an argument lies outside its bound",
	"KVF_ENOMEM: no memory, or it would break a limit of the machine",
	"KVF_EAGAIN: full or not ready, try again after kvf_poll()",
	"KVF_EBUSY: work is still in flight",
	"KVF_ENOENT: no such operation, lease or chunk",
	"KVF_ECANCELED: ended by a cancel or by shutdown",
	"KVF_ETIMEDOUT: the deadline passed",
	"KVF_EIO: a tier failed",
	"KVF_ECORRUPT: bytes did not match their checksum or key",
	"KVF_ENOSPC: a tier is full and could not make room",
	"KVF_EDROPPED: a store did not reach the level asked for",
	"KVF_EQUOTA: a cap or quota refused it",
	"KVF_ENODEV: no such device, or no driver for it",
	"KVF_EDRIVER: the driver is too old",
	"KVF_EDEVLOST: the device failed and cannot be used any more",
	"KVF_ECAPTURE: the stream is capturing a graph",
	"KVF_ECONFIG: the configuration is wrong",
	"KVF_ENOTSUP: not supported by this device, tier or layout",
	"KVF_ETHREAD: called from a thread that does not own the engine",
	"KVF_EFORK: called in a child process of the owner",
	"KVF_EREENTRY: called from inside another call on the same engine",
	"KVF_ESHUTDOWN: the engine is shutting down and takes no more work",
	"KVF_EDEAD: the engine found a broken invariant and stopped",
	"KVF_EINTERNAL: the operation ended because the engine died",
};

_Static_assert(KVF_ARRAY_LEN(status_text) == KVF_EINVAL - KVF_EINTERNAL + 1, "every status has a text");

const char *kvf_strerror(int status)
{
	if (status == KVF_OK)
		return "KVF_OK: success";
	if (status > 0)
		return "KVF_OK: a count";
	if (status > KVF_EINVAL || status < KVF_EINTERNAL)
		return "unknown status";
	return status_text[KVF_EINVAL - status];
}

size_t kvf_dtype_bytes(enum kvf_dtype dtype)
{
	switch (dtype) {
	case KVF_FLOAT64:
		return 8;
	case KVF_FLOAT32:
		return 4;
	case KVF_FLOAT16:
	case KVF_BFLOAT16:
		return 2;
	case KVF_UINT8:
	case KVF_INT8:
	case KVF_FP8_E4M3:
	case KVF_FP8_E5M2:
		return 1;
	case KVF_DTYPE_NONE:
		break;
	}
	return 0;
}
