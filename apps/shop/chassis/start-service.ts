import type { RunningService, ServiceConfig, StopOptions } from "./config.ts";
import type { HttpServer } from "./http-server.ts";

/**
 * Puts a service together and lets it listen. What `compose` opens it also gives to the stack,
 * which closes it in reverse order: at once when the start fails, else after the server has
 * stopped, so that requests in flight still find their database.
 */
export async function startService(
  config: ServiceConfig,
  compose: (resources: AsyncDisposableStack) => Promise<HttpServer>,
): Promise<RunningService> {
  await using starting = new AsyncDisposableStack();
  const server = await compose(starting);
  const url = await server.listen(config);
  const resources = starting.move();

  const stop = async (options?: StopOptions): Promise<void> => {
    await server.stop(options);
    await resources.disposeAsync();
  };
  let stopped: Promise<void> | undefined;
  return { name: config.name, url, stop: (options) => (stopped ??= stop(options)) };
}
