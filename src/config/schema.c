/* SPDX-License-Identifier: Apache-2.0 */
/* Looking things up in the schema tables: by name, by family, by likeness. */
#include "config/schema.h"

#include <string.h>
#include <strings.h>

#include "base/compiler.h"

static const struct kvf_table *const tables[] = {
	&kvf_schema_engine, &kvf_schema_lmcache, &kvf_schema_extra, &kvf_schema_env};

static const struct kvf_alias aliases[] = {
	{"plugin_locations", "runtime_plugin_locations", KVF_PLACE_TOP},
	{"external_backends", "storage_plugins", KVF_PLACE_TOP},
	{"enable_xpyd", "enable_pd", KVF_PLACE_TOP},
	{"nixl_peer_host", "pd_peer_host", KVF_PLACE_TOP},
	{"nixl_peer_init_port", "pd_peer_init_port", KVF_PLACE_TOP},
	{"nixl_peer_alloc_port", "pd_peer_alloc_port", KVF_PLACE_TOP},
	{"nixl_proxy_host", "pd_proxy_host", KVF_PLACE_TOP},
	{"nixl_proxy_port", "pd_proxy_port", KVF_PLACE_TOP},
	{"nixl_role", "pd_role", KVF_PLACE_TOP},
	{"controller_url", "controller_pull_url", KVF_PLACE_TOP},
	{"lmcache_worker_port", "lmcache_worker_ports", KVF_PLACE_TOP},
	{"blend_recompute_ratio", "blend_recompute_ratios", KVF_PLACE_TOP},
	{"nixl_use_hugepages", "local_cpu_use_hugepages", KVF_PLACE_EXTRA},
};

static const struct kvf_retired retired[] = {
	{"lookup_url", "p2p lookup of releases before 0.3"},
	{"distributed_url", "p2p transfers of releases before 0.3"},
	{"error_handling", "LMCache 0.2"},
	{"enable_nixl", "disaggregation of releases before 0.3.4"},
	{"nixl_peer_port", "disaggregation of releases before 0.3.4"},
	{"nixl_receiver_host", "disaggregation of releases before 0.3.4"},
	{"nixl_receiver_port", "disaggregation of releases before 0.3.4"},
	{"nixl_enable_gc", "disaggregation of releases before 0.3.4"},
	{"weka_path", "GPUDirect Storage, now gds_path; kvferry has no such tier, local_disk is "
		      "its disk tier"},
	{"cufile_buffer_size", "GPUDirect Storage, now gds_buffer_size; kvferry has no such tier"},
	{"local_device", "LMCache 0.1; now local_cpu and local_disk"},
	{"max_local_cache_size", "LMCache 0.1; now max_local_cpu_size and max_local_disk_size"},
	{"pipelined_backend", "LMCache 0.1; kvferry always pipelines"},
	{"async_loading", "now enable_async_loading; kvferry is always asynchronous"},
};

size_t kvf_schema_count(void)
{
	size_t n = 0;

	for (size_t t = 0; t < KVF_ARRAY_LEN(tables); t++)
		n += tables[t]->n;
	return n;
}

const struct kvf_key *kvf_schema_at(size_t i)
{
	for (size_t t = 0; t < KVF_ARRAY_LEN(tables); t++) {
		if (i < tables[t]->n)
			return &tables[t]->keys[i];
		i -= tables[t]->n;
	}
	return NULL;
}

static long find(const char *name, enum kvf_key_place place, bool family)
{
	size_t i = 0;

	for (size_t t = 0; t < KVF_ARRAY_LEN(tables); t++) {
		for (size_t k = 0; k < tables[t]->n; k++, i++) {
			const struct kvf_key *key = &tables[t]->keys[k];
			bool prefix = key->flags & KVF_KEY_PREFIX;

			if (key->place != place || prefix != family)
				continue;
			if (family ? strncmp(name, key->name, strlen(key->name)) == 0
				   : strcmp(name, key->name) == 0)
				return (long)i;
		}
	}
	return -1;
}

long kvf_schema_find(const char *name, enum kvf_key_place place)
{
	return find(name, place, false);
}

long kvf_schema_family(const char *name, enum kvf_key_place place)
{
	return find(name, place, true);
}

const struct kvf_alias *kvf_schema_alias(const char *name, enum kvf_key_place place)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(aliases); i++)
		if (aliases[i].place == place && strcmp(aliases[i].old, name) == 0)
			return &aliases[i];
	return NULL;
}

const struct kvf_alias *kvf_schema_alias_at(size_t i)
{
	return i < KVF_ARRAY_LEN(aliases) ? &aliases[i] : NULL;
}

const struct kvf_retired *kvf_schema_retired(const char *name)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(retired); i++)
		if (strcmp(retired[i].name, name) == 0)
			return &retired[i];
	return NULL;
}

static char fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

#define NAME_MAX_COMPARED 63

unsigned int kvf_edit_distance(const char *a, const char *b, unsigned int limit)
{
	unsigned int row[3][NAME_MAX_COMPARED + 1];
	size_t na = strlen(a);
	size_t nb = strlen(b);
	unsigned int *two = row[0];
	unsigned int *one = row[1];
	unsigned int *now = row[2];

	if (na > NAME_MAX_COMPARED || nb > NAME_MAX_COMPARED ||
		(na > nb ? na - nb : nb - na) > limit)
		return limit + 1;
	for (size_t j = 0; j <= nb; j++)
		one[j] = (unsigned int)j;
	memset(row[0], 0, sizeof(row[0]));
	for (size_t i = 1; i <= na; i++) {
		unsigned int *spare = two;

		now[0] = (unsigned int)i;
		for (size_t j = 1; j <= nb; j++) {
			bool same = fold(a[i - 1]) == fold(b[j - 1]);
			unsigned int d = one[j - 1] + !same;

			d = d < one[j] + 1 ? d : one[j] + 1;
			d = d < now[j - 1] + 1 ? d : now[j - 1] + 1;
			if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
				fold(a[i - 2]) == fold(b[j - 1]) && two[j - 2] + 1 < d)
				d = two[j - 2] + 1;
			now[j] = d;
		}
		two = one;
		one = now;
		now = spare;
	}
	return one[nb] <= limit ? one[nb] : limit + 1;
}

const char *kvf_schema_nearest(const char *name, enum kvf_key_place place)
{
	size_t n = strlen(name);
	/* A third of the letters may be wrong: more, and any short word resembles any other. */
	unsigned int best = (unsigned int)(n < 12 ? n / 3 : 4) + 1;
	const char *found = NULL;
	size_t count = kvf_schema_count();

	for (size_t i = 0; i < count; i++) {
		const struct kvf_key *key = kvf_schema_at(i);
		unsigned int d;

		if (key->place != place || (key->flags & KVF_KEY_PREFIX))
			continue;
		d = kvf_edit_distance(name, key->name, best - 1);
		if (d < best) {
			best = d;
			found = key->name;
			if (d == 0)
				break;
		}
	}
	return found;
}

const char *kvf_type_name(enum kvf_key_type type)
{
	static const char *const names[] = {
		[KVF_TYPE_BOOL] = "true or false",
		[KVF_TYPE_TRI] = "auto, true or false",
		[KVF_TYPE_UINT] = "a whole number",
		[KVF_TYPE_INT] = "a whole number",
		[KVF_TYPE_NUMBER] = "a number",
		[KVF_TYPE_GB] = "a number of GB",
		[KVF_TYPE_SECONDS] = "a number of seconds",
		[KVF_TYPE_MILLIS] = "a number of milliseconds",
		[KVF_TYPE_ENUM] = "one word",
		[KVF_TYPE_WORD] = "one word",
		[KVF_TYPE_TEXT] = "text",
		[KVF_TYPE_URL] = "a URL",
		[KVF_TYPE_PATHS] = "a directory, or several with commas between",
		[KVF_TYPE_LIST] = "a list",
		[KVF_TYPE_INTS] = "a list of whole numbers",
		[KVF_TYPE_NUMBERS] = "a list of numbers",
		[KVF_TYPE_INT_MAP] = "a map of whole numbers",
		[KVF_TYPE_GB_MAP] = "a map of salts, each with a number of GB",
		[KVF_TYPE_HASH_SEED] = "random, or a whole number from 0 to 4294967295",
		[KVF_TYPE_MAP] = "a map",
		[KVF_TYPE_ANY] = "anything",
	};

	return names[type];
}

const char *kvf_class_name(enum kvf_key_class class)
{
	static const char *const names[] = {"honoured", "harmless", "refused"};

	return names[class];
}
