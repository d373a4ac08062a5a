#include "api/handlers.h"
namespace leeward::api::reflection {
void info(CallPtr call) { call->finish(unimplemented("leeward: server reflection is not built yet")); }
}
