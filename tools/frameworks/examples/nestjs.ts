// NestJS: the method gets the transaction of its request; a repeat gets the first answer.
import "reflect-metadata";
import { Body, Controller, Module, Post } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { IdempotencyModule, Idempotent } from "dure/http/nestjs";
import { openShop } from "./shop.ts";
import type { Keyed } from "./shop.ts";

const { dure, placeOrder, show, close } = await openShop();

@Controller("orders")
class Orders {
  @Post()
  @Idempotent({ principal: () => "anyone" })
  create(@Body() order: object, { tx }: Keyed): Promise<object> {
    return placeOrder(tx, order);
  }
}

@Module({ imports: [IdempotencyModule.forRoot(dure)], controllers: [Orders] })
class Shop {}

const app = await NestFactory.create(Shop, { logger: false });
await app.listen(0);
await show(await app.getUrl());

await app.close();
await close();
